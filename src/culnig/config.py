"""A run's configuration: pydantic models of its YAML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from culnig.attribution._method import parse_methods
from culnig.benchmarks import Item, load_items, with_place
from culnig.countries import BLEND, TARGETS
from culnig.errors import DataError, UsageError
from culnig.files import require_file
from culnig.finetune._settings import TrainingConfig, UpdateConfig
from culnig.intervention._edit import Operation
from culnig.neurons import ATTENTION_POOL, MLP_POOL
from culnig.prompts._policy import Switch
from culnig.selection._rules import GeneralRule, SpecificRule


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


C = TypeVar("C", bound=_Section)


class ModelConfig(_Section):
    """Which model."""

    name: str = Field("smollm2-135m", description="alias, GGUF file, local folder or hub id")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = Field("auto", description="auto: the first GPU if there is one")
    revision: str | None = Field(None, description="commit or branch of a hub id")
    trust_remote_code: bool = Field(False, description="run code that comes with the model")
    quantize: Literal["4bit", "8bit"] | None = Field(None, description="load with bitsandbytes")
    merge_adapter: bool = Field(False, description="add a PEFT adapter to the weights")
    device_map: Literal["auto", "balanced", "sequential"] | None = Field(
        None, description="spread the layers over all devices (accelerate)"
    )


class PromptConfig(_Section):
    """How items are put to the model."""

    formulation: Literal["auto", "mcf", "cf"] = Field("auto", description="auto: the one recommended for the model")
    chat_template: Switch = "auto"
    bos: Switch = "auto"
    wordings: int | Literal["all"] = 1
    system: str | None = None
    template: str | None = None

    def resolved(self, recommended: str) -> dict[str, Any]:
        """The fields of a prompt policy, with the formulation recommended for the model where it is left to it."""
        settings = self.model_dump()
        return settings | {"formulation": recommended if self.formulation == "auto" else self.formulation}


class DataConfig(_Section):
    """A set of items, or a fixed part of it."""

    items: str = Field(description="benchmark:split or benchmark:split@place, your own.yaml:split, or an item file")
    countries: list[str] | Literal["all", "blend", "targets"] = Field(
        "all", description="names, or blend (BLEnD's sixteen), or targets (the paper's eight)"
    )
    limit_per_country: int | None = Field(None, ge=1, description="a seeded sample of so many items a country")
    draws: int | None = Field(None, ge=1, description="option draws of each question")
    topics: list[str] | None = Field(None, description="these topics only; null is all")

    def load(self, seed: int, sources: Mapping[str, str] | None = None) -> list[Item]:
        """The items; `sources` says where a benchmark's rows are."""
        named = {"all": None, "blend": BLEND, "targets": TARGETS}
        countries = named[self.countries] if isinstance(self.countries, str) else self.countries
        return load_items(
            with_place(self.items, sources or {}),
            countries=countries,
            topics=self.topics,
            limit_per_country=self.limit_per_country,
            draws=self.draws,
            seed=seed,
        )


class TestConfig(DataConfig):
    """A set of items to evaluate on, and what it stands for."""

    __test__ = False  # not a test case, whatever pytest thinks of the name
    role: Literal["culture", "general", "surface", "task", "short"] = Field(
        description="culture: what should fall; general: what should stay; surface: reading of country names;"
        " task: what a fine-tuning is to teach; short: short answers that the model writes"
    )

    @property
    def label(self) -> str:
        """Benchmark and split, without the place of the rows."""
        return self.items.partition("@")[0]


class IdentifyConfig(_Section):
    """The sets that neurons are found on."""

    neur: DataConfig = DataConfig(items="everyday:neur")
    ctrl: DataConfig = DataConfig(items="everyday:ctrl")
    crc: DataConfig = DataConfig(items="country_rc:neur")
    general: DataConfig | None = Field(None, description="general items; neurons high on them are removed (ours)")


class GuardConfig(_Section):
    """What tells a model that lost culture from one that broke."""

    text: str | None = Field(
        "plain", description="text for perplexity: plain (embedded), a text file, or null for none"
    )
    conditions: Literal["all", "general"] = Field(
        "all", description="suppressions guarded: all (random controls and every country's set too), or the general set"
    )
    reading: Literal["all", "general"] = Field(
        "all", description="the same for country reading alone, the dearest guard"
    )


class FidelityConfig(_Section):
    """The study `fidelity`: estimates against exact suppression."""

    items: DataConfig = DataConfig(items="everyday:neur", limit_per_country=2, draws=1)
    methods: str = Field(
        "culnig,culnig:sum,atp,relp,ig:gate:steps=4",
        description="methods that estimate P(gold) lost to zeroing a neuron",
    )
    layers: int | None = Field(None, ge=1, description="so many layers, evenly spread; null is all")
    per_cell: int = Field(1, ge=1, description="neurons of each score decile of each module of each layer")
    largest: float = Field(0.01, gt=0, le=1, description="largest group that is suppressed together, as a share")
    groups: int = Field(9, ge=0, description="group sizes from 1 to the largest; 0 for none")

    @field_validator("methods")
    @classmethod
    def _methods(cls, text: str) -> str:
        return _parsed(text)


class MethodsConfig(_Section):
    """The studies `methods` and `stability`: every method of `method` at equal budgets."""

    modules: dict[str, list[str]] = Field(
        {"gate": list(MLP_POOL), "all": [*MLP_POOL, *ATTENTION_POOL]},
        min_length=1,
        description="name -> modules whose neurons are suppressed; a method that does not score them all is left out",
    )
    budgets: list[Annotated[float, Field(gt=0, le=1)]] = Field(
        [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05], min_length=1, description="shares of each module's neurons"
    )
    stability_budget: float = Field(0.01, gt=0, le=1, description="budget at which stability is looked at")
    resamples: int = Field(40, ge=0, description="bootstrap resamples of the items")
    halves: int = Field(10, ge=0, description="random splits of the items into halves")
    wordings: int = Field(
        1,
        ge=1,
        description="score so many wordings, and compare the sets of the first and of the others; 1: no comparison",
    )


Arm = Literal["all", "top", "bottom", "random", "protect"]


class ArmsConfig(_Section):
    """The fine-tuning study: one task, several ways to update the model."""

    task: DataConfig = DataConfig(items="entail:train")
    arms: list[Arm] = Field(
        ["all", "top", "bottom", "random", "protect"],
        min_length=1,
        description="all: everything; top, bottom, random: modules by their culture-general neurons; protect: everything"
        " but these neurons' rows",
    )
    share: float = Field(0.1, gt=0, le=1, description="of the decoder's parameters, for top, bottom and random")
    training: TrainingConfig = TrainingConfig()


class RestoreConfig(_Section):
    """The restoring study: only culture-general neurons' rows are trained, on cultural items."""

    task: DataConfig = DataConfig(items="everyday:neur")
    training: TrainingConfig = TrainingConfig(learning_rate=1e-3)


class FoundOn(_Section):
    """A benchmark that neurons are found on, for the overlap of sets."""

    neur: DataConfig
    ctrl: DataConfig


def _everyday_topics() -> dict[str, FoundOn]:
    """The three topics of `everyday:neur` as three benchmarks."""
    return {
        topic: FoundOn(
            neur=DataConfig(items="everyday:neur", topics=[topic]),
            ctrl=DataConfig(items="everyday:ctrl", topics=[topic]),
        )
        for topic in ("Food", "Work life", "Sport")
    }


class OverlapConfig(_Section):
    """Study `overlap`: sets found on several benchmarks."""

    benchmarks: dict[str, FoundOn] = Field(default_factory=_everyday_topics, min_length=2)


class ModulesConfig(_Section):
    """Study `modules`: the MLP part and the attention part alone."""

    random_controls: int = Field(3, ge=1, le=1000, description="matched random sets for each part")


class DoseConfig(_Section):
    """Study `dose`: graded scaling of the general set."""

    factors: list[float] = Field([0.0, 0.5, 1.5, 2.0, 3.0], min_length=1, description="1 is the untouched model")


class ThresholdsConfig(_Section):
    """Study `thresholds`: sizes over a grid, and the drop at the settings in which one threshold moves alone."""

    t: list[float] = Field([0.0025, 0.005, 0.01, 0.02], min_length=1, description="of the MLP; attention in proportion")
    r: list[float] = Field([0.0, 0.01, 0.05], min_length=1)
    z: list[float] = Field([0.0, 0.5, 1.0, 1.5], min_length=1, description="of culture-specific sets")


class InstanceConfig(_Section):
    """Study `instance`: the general set's best neurons, item by item."""

    top: int = Field(1000, ge=1, description="so many neurons at most")


class ComputeConfig(_Section):
    """Speed and memory; nothing here changes a result."""

    token_budget: int | None = Field(None, ge=16, description="padded tokens a batch; null suits the device")
    checkpoint_minutes: float = Field(5.0, ge=0, description="keep the progress of scoring so often")
    scores_from: str | None = Field(None, description="a finished run with the same model and items: take its scores")


class RunConfig(_Section):
    """Everything about a run."""

    name: str = Field("run", pattern=r"^[A-Za-z0-9._-]+$", description="names the default output folder, runs/<name>")
    seed: int = Field(0, ge=0)
    model: ModelConfig = ModelConfig()
    prompts: PromptConfig = PromptConfig()
    identify: IdentifyConfig = IdentifyConfig()
    test: list[TestConfig] = Field(min_length=1)
    method: str = Field(
        "culnig", description="scoring methods with their options (culnig,culnig:sum,atp); studies select by the first"
    )
    blocks: int | None = Field(None, ge=2, description="keep sums of so many blocks of items, to resample them (20)")
    sources: dict[str, str] = Field({}, description="benchmark -> file, folder or hub id that its rows come from")
    operation: str = Field("suppress", description="suppress, enhance or scale=FACTOR")
    general: GeneralRule = GeneralRule()
    specific: SpecificRule = SpecificRule()
    specific_test: Literal["all", "targets"] = Field(
        "all", description="countries that culture-specific sets are tested on; targets: those that have a set"
    )
    random_controls: int = Field(5, ge=1, le=1000, description="matched random sets to compare with")
    correction: Literal["holm", "bh"] = Field("holm", description="of p-values over test sets, and over countries")
    guards: GuardConfig = GuardConfig()
    studies: list[str] = Field(["general", "specific"], min_length=1)
    fidelity: FidelityConfig = FidelityConfig()
    methods: MethodsConfig = MethodsConfig()
    finetune: ArmsConfig = ArmsConfig()
    restore: RestoreConfig = RestoreConfig()
    seeds: int = Field(1, ge=1, le=100, description="fine-tunings of each arm (studies finetune and restore)")
    keep_tuned: bool = Field(False, description="keep the tuned checkpoints, not only what was measured on them")
    modules: ModulesConfig = ModulesConfig()
    dose: DoseConfig = DoseConfig()
    thresholds: ThresholdsConfig = ThresholdsConfig()
    instance: InstanceConfig = InstanceConfig()
    overlap: OverlapConfig = OverlapConfig()
    compute: ComputeConfig = ComputeConfig()

    @field_validator("test")
    @classmethod
    def _distinct(cls, tests: list[TestConfig]) -> list[TestConfig]:
        for number, test in enumerate(tests):
            if any(test.label == other.label for other in tests[:number]):
                raise ValueError(f"{test.label} is listed twice; results are kept by its name")
        return tests

    @field_validator("operation")
    @classmethod
    def _operation(cls, text: str) -> str:
        try:
            Operation.parse(text)
        except UsageError as error:
            raise ValueError(str(error)) from error
        return text

    @field_validator("method")
    @classmethod
    def _method(cls, text: str) -> str:
        return _parsed(text)

    def test_of(self, role: str) -> TestConfig | None:
        """The first test set of a role, on which all studies look."""
        return next(iter(self.tests_of(role)), None)

    def tests_of(self, role: str) -> list[TestConfig]:
        """All test sets of a role."""
        return [test for test in self.test if test.role == role]


def _parsed(methods: str) -> str:
    """The text, if it names methods; pydantic wants a ValueError."""
    try:
        parse_methods(methods)
    except UsageError as error:
        raise ValueError(str(error)) from error
    return methods


class FinetuneConfig(_Section):
    """Everything about one fine-tuning."""

    name: str = Field(
        "finetune", pattern=r"^[A-Za-z0-9._-]+$", description="names the default output folder, runs/<name>"
    )
    seed: int = Field(0, ge=0, description="order of the data, random adapters")
    model: ModelConfig = ModelConfig()
    prompts: PromptConfig = PromptConfig()
    task: DataConfig = Field(description="items to train on")
    validate_on: DataConfig | None = Field(None, description="items whose loss is measured after every epoch")
    update: UpdateConfig = UpdateConfig()
    training: TrainingConfig = TrainingConfig()


def load_finetune_config(path: str | Path, overrides: Sequence[str] = ()) -> FinetuneConfig:
    """Read a fine-tuning's config from a YAML file; arguments and errors as `load_config`."""
    return _load(FinetuneConfig, path, overrides)


def load_config(path: str | Path | None, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a run's config.

    Args:
        path: a YAML file, the name of an embedded config (`quickstart`), or None for the quickstart.
        overrides: `a.b=value` settings, values as YAML.

    Raises:
        UsageError: no such file, or an override that is no setting.
        DataError: not YAML, or a field that is wrong; the message names file and field.
    """
    return _load(RunConfig, path, overrides)


def _load(kind: type[C], path: str | Path | None, overrides: Sequence[str]) -> C:
    source, data = _mapping(path)
    for override in overrides:
        _override(data, override)
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "config"
        raise UsageError(f"{source}: {where}: {first['msg']}{_suggest(first)}") from error


def _mapping(path: str | Path | None) -> tuple[str, dict[str, Any]]:
    """A config's name and its settings; `base: NAME` stands for the settings of an embedded config, where it says no other."""
    import yaml

    source, text = _read(path)
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DataError(f"{source}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise DataError(f"{source}: a mapping of settings is expected; see `culnig run --help`")
    base = data.pop("base", None)
    if base is None:
        return source, data
    if not isinstance(base, str) or not (resources.files("culnig") / "configs" / f"{base}.yaml").is_file():
        raise UsageError(f"{source}: base: {base!r} is no embedded config; embedded are {', '.join(embedded())}")
    return source, _over(_mapping(base)[1], data)


def _over(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """`own` laid over `base`; mappings are joined, everything else is replaced."""
    joined = dict(base)
    for key, value in own.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        joined[key] = _over(base[key], value) if both else value
    return joined


def embedded() -> list[str]:
    """Names of the embedded configs."""
    folder = resources.files("culnig") / "configs"
    return sorted(path.name.removesuffix(".yaml") for path in folder.iterdir() if path.name.endswith(".yaml"))


def _read(path: str | Path | None) -> tuple[str, str]:
    name = "quickstart" if path is None else str(path)
    own = resources.files("culnig") / "configs" / f"{name}.yaml"
    if "/" not in name and own.is_file():
        return name, own.read_text(encoding="utf-8")
    if not name.endswith((".yaml", ".yml")) and not Path(name).exists():
        raise UsageError(f"no config '{name}': embedded are {', '.join(embedded())}; else name a YAML file")
    try:
        return name, require_file(name, "a config (YAML)").read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: not UTF-8 text (byte {error.start})") from error


def _override(data: dict[str, Any], setting: str) -> None:
    import yaml

    path, equals, value = setting.partition("=")
    if not equals or not path:
        raise UsageError(f"--set {setting}: give it as name.of.setting=value")
    *parents, last = path.split(".")
    place: Any = data
    for step in parents:
        if isinstance(place, dict) and place.get(step) is None:
            place[step] = {}  # not given, or given as null
        place = place[int(step)] if isinstance(place, list) and step.isdigit() else place[step]
        if not isinstance(place, dict | list):
            raise UsageError(f"--set {setting}: '{step}' holds a value, not settings")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UsageError(f"--set {setting}: the value is not YAML") from error
    if isinstance(place, list):
        if not last.isdigit() or int(last) >= len(place):
            raise UsageError(f"--set {setting}: '{last}' is not an index of that list")
        place[int(last)] = parsed
    else:
        place[last] = parsed


def _suggest(error: Any) -> str:
    if error["type"] == "missing":
        return ""
    return "; no such setting" if error["type"] == "extra_forbidden" else f" (got {error['input']!r})"[:120]
