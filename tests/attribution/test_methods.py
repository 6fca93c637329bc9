"""Other scoring methods against a slow reference by definition, and the properties that they are known for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import culnig
from culnig import Neuron
from culnig.attribution.method import METHODS, parse_method, parse_methods
from culnig.errors import UsageError
from culnig.neurons import GATE, UP, VALUE, Site
from culnig.passes.forward import Row, answer_logprobs, collate
from culnig.passes.from_layer import layer_inputs, starting_at
from culnig.prompts import PromptPolicy
from tests.helpers import slow_methods as slow
from tests.helpers import tiny_models
from tests.helpers.cli import invoke, use
from tests.helpers.slow_methods import check, model_of
from tests.helpers.tolerances import output_tolerance, score_tolerance

CF = PromptPolicy(formulation="cf")
MCF = slow.MCF


@pytest.fixture(scope="module")
def lm():
    return model_of("llama")


@pytest.fixture(scope="module")
def items(word_items):
    return word_items[:7]


@pytest.mark.parametrize("family", ["llama", "gpt2", "phi3"])
def test_values_by_definition(family, items):
    """lape, mean_contrast and wanda_neuron in one forward pass."""
    lm = model_of(family)
    scores = culnig.score(lm, items, policy=MCF, method="lape,mean_contrast,wanda_neuron")
    act = torch.nn.functional.silu if family != "gpt2" else lm.model.transformer.h[0].mlp.act

    def columns(layer):
        if family == "gpt2":
            return lm.model.transformer.h[layer].mlp.c_proj.weight.norm(dim=1)
        return lm.model.model.layers[layer].mlp.down_proj.weight.norm(dim=0)

    def product(run, layer):
        gate = act(run.value(Site(GATE, layer)))
        return gate if family == "gpt2" else gate * run.value(Site(UP, layer))

    def per_item(function):
        return slow.by_item(lm, items, lambda e: function(slow.Run(lm, e)))

    gates = [site for site in lm.sites if site.module == GATE]
    check(scores, "lape", per_item(lambda r: {s: (act(r.value(s)) > 0).sum(0) for s in gates}), 0)
    check(scores, "mean_contrast", per_item(lambda r: {s: r.value(s).mean(0) for s in lm.sites}))
    check(scores, "mean_contrast+squares", per_item(lambda r: {s: r.value(s).mean(0) ** 2 for s in lm.sites}))
    expected = per_item(lambda r: {s: product(r, s.layer).square().mean(0).sqrt() * columns(s.layer) for s in gates})
    check(scores, "wanda_neuron", expected)
    if family != "gpt2":
        up = scores.sums["wanda_neuron", UP]
        np.testing.assert_array_equal(up, scores.sums["wanda_neuron", GATE])
    heads = lm.text_config.num_attention_heads
    out = (
        lm.model.transformer.h[1].attn.c_proj.weight.t()
        if family == "gpt2"
        else lm.model.model.layers[1].self_attn.o_proj.weight
    )
    size = 8
    keys = lm.shapes[VALUE][1] // size
    norms = torch.stack(
        [
            out[:, [h * size + i for h in range(heads) if h // (heads // keys) == k]].norm()
            for k in range(keys)
            for i in range(size)
        ]
    )
    site = Site(VALUE, 1)
    check(scores, "wanda_neuron", per_item(lambda r: {site: r.value(site).square().mean(0).sqrt() * norms}))
    assert not any(module == "self_attn.q_proj" for method, module in scores.sums if method == "wanda_neuron")


def test_values_with_experts(items):
    """Experts are reached by some tokens only; elsewhere a neuron has no value."""
    lm = model_of("mixtral")
    scores = culnig.score(lm, items, policy=MCF, method="lape,wanda_neuron,mean_contrast", token_budget=60)
    tokens, norms = {}, {}
    from culnig.passes.experts import tapped

    experts = lm.model.model.layers[1].mlp.experts

    def tap(expert, at, output):
        gate, up = output.chunk(2, dim=-1)
        tokens[expert] = (torch.nn.functional.silu(gate) > 0).sum(0)
        norms[expert] = (torch.nn.functional.silu(gate) * up).square().sum(0)
        return output

    counted, wanda = np.zeros(4 * 48), np.zeros(4 * 48)
    for e in slow.encoded_of(lm, items):
        tokens.clear(), norms.clear()
        with tapped(experts, tap), torch.no_grad():
            lm.model(torch.tensor([e.prompt_ids]))
        for expert in tokens:
            part = slice(48 * expert, 48 * expert + 48)
            weights = experts.down_proj[expert].norm(dim=0)
            counted[part] += tokens[expert].numpy()
            wanda[part] += ((norms[expert] / len(e.prompt_ids)).sqrt() * weights).detach().numpy()
    np.testing.assert_array_equal(scores.total(GATE, "lape")[1], counted)
    np.testing.assert_allclose(scores.total(GATE, "wanda_neuron")[1], wanda, rtol=1e-4)


@pytest.mark.parametrize(
    ("family", "policy"), [("llama", MCF), ("llama", CF), ("gpt_neox", MCF), ("phi3", CF), ("mixtral", MCF)]
)
def test_oracle_is_exact_suppression(family, policy, items):
    lm = model_of(family)
    rng = np.random.default_rng(0)
    neurons = [
        Neuron(m, int(rng.integers(3)), int(rng.integers(w))) for m, (_, w) in lm.shapes.items() for _ in range(3)
    ]
    few = items[:3] if family != "mixtral" else items[:2]
    for target, budget in (("p", None), ("diff", 40)):
        found = culnig.oracle(lm, few, neurons, policy=policy, target=target, token_budget=budget)
        expected = exact(lm, few, neurons, target, policy)
        assert found.change.shape == expected.shape and np.abs(expected).max() > 1e-5
        np.testing.assert_allclose(found.change, expected, atol=2e-3 * np.abs(expected).max())
    assert found.ids == [item.id for item in few]
    assert not any(m._forward_hooks or "forward" in m.__dict__ for m in lm.layers)


def exact(lm, items, neurons, target, policy):
    rows = []
    for item in items:
        clean, changed = measured(lm, item, target, policy), []
        for neuron in neurons:
            with culnig.suppress(lm, culnig.NeuronSet([neuron])):
                changed.append(clean - measured(lm, item, target, policy))
        rows.append(changed)
    return np.array(rows)


def measured(lm, item, target, policy):
    row = culnig.evaluate(lm, [item], policy=policy).rows.iloc[0]
    options = np.array(row["option_logprobs"])
    return row["p_gold"] if target == "p" else options[row["gold"]] - np.delete(options, row["gold"]).max()


def test_oracle_as_a_method(lm, items):
    """The sampled neurons have the function's scores, the others none, and none of those is selected."""
    scores = culnig.score(lm, items, policy=MCF, method="oracle:sample=2", modules=[GATE])
    method = parse_method("oracle:sample=2")
    neurons = [n for layer in range(3) for n in method.neurons(Site(GATE, layer), 48)]
    found = culnig.oracle(lm, items, neurons, policy=MCF)
    for column, neuron in enumerate(neurons):
        got = scores.mean(GATE)[neuron.layer, neuron.index]
        assert got == pytest.approx(found.mean()[column], rel=1e-4, abs=1e-9)
    assert np.isnan(scores.total(GATE)).sum() == 3 * 46
    chosen = culnig.select_general(scores, None, None, t_mlp=0.5)
    assert set(chosen) == set(neurons)


@pytest.mark.parametrize("family", tiny_models.CONFIGS)
def test_passes_can_start_at_any_layer(family):
    lm = model_of(family)
    batch = collate(
        [Row(0, (5, 6, 7, 8, 9, 10, 11), ((12, 13), (14, 15, 16))), Row(1, (9, 8, 7), ((6, 5), (4,)))], lm.device
    )
    with torch.no_grad():
        with layer_inputs(lm) as hidden:
            expected = answer_logprobs(lm, batch).answer_logprobs
        for layer in range(lm.num_layers):
            with starting_at(lm, layer, hidden[layer]):
                got = answer_logprobs(lm, batch).answer_logprobs
            # A pass over fewer layers may lie otherwise in memory, and kernels then add in another order.
            torch.testing.assert_close(got, expected, rtol=0, atol=output_tolerance(lm, expected))


def test_random_is_uniform_and_its_own(lm, items):
    scores = culnig.score(lm, items, policy=MCF, method="random,random:seed=3")
    first, other = (scores.of_method(name) for name in ("random", "random:seed=3"))
    u = first.mean(GATE)
    assert 0.4 < u.mean() < 0.6 and u.min() >= 0 and u.max() < 1
    ctrl = culnig.score(lm, items[:3], policy=MCF, method="random", control=True)
    chosen = culnig.select_general(first, ctrl, ctrl, t_mlp=0.2, t_attn=0.2)
    assert len(chosen) == 28 + 38 and chosen == culnig.select_general(first, None, None, t_mlp=0.2, t_attn=0.2)
    assert chosen != culnig.select_general(other, None, None, t_mlp=0.2, t_attn=0.2)
    assert chosen.provenance["without"] == ["ctrl", "crc"]


def test_without_control_and_without_country_reading(lm, items):
    neur, crc = (culnig.score(lm, part, policy=MCF) for part in (items, items[3:]))
    chosen = culnig.select_general(neur, None, None, t_mlp=0.1, t_attn=0)
    best = np.argsort(-neur.mean(GATE).ravel(), kind="stable")[:14]
    assert [n.layer * 48 + n.index for n in chosen] == list(best)
    only_crc = culnig.select_general(neur, None, crc, t_mlp=0.1, t_attn=0, r=0.1)
    surface = set(np.argsort(-crc.total(GATE).ravel(), kind="stable")[:14])
    assert [n.layer * 48 + n.index for n in only_crc] == [i for i in best if i not in surface]
    assert len(culnig.select_specific(neur, None, None)) == 3


def test_names_and_options():
    assert parse_method("culnig:unweighted:logp:sum").name == "culnig:sum:logp:unweighted"
    assert parse_method("culnig:max:p:weighted").name == "culnig"
    assert [m.name for m in parse_methods(" culnig , ig:steps=3:max")] == ["culnig", "ig:max:steps=3"]
    for wrong, message in (
        ("culnug", "unknown method 'culnug'; there are: atp, cape, culnig"),
        ("culnig:median", "no option 'median'; its options: max|sum|mean|last|absmax, p|logp|diff"),
        ("culnig:sum:max", "positions is given twice"),
        ("ig:steps=0", "steps = 0: Input should be greater"),
        ("ig:steps=many", "steps = many"),
        ("culnig,culnig:max", "named twice"),
        (" , ", "no method named"),
    ):
        with pytest.raises(UsageError, match=message.replace("|", r"\|")):
            parse_methods(wrong)


def test_what_a_method_cannot_do(lm, items):
    with pytest.raises(UsageError, match=r"has no module 'mlp\.gate'"):
        culnig.score(lm, items, policy=MCF, modules=["mlp.gate"])
    with pytest.raises(UsageError, match=r"lape scores mlp\.gate_proj only"):
        culnig.score(lm, items, policy=MCF, method="lape", modules=[VALUE])
    prompt = culnig.Item("1", "b", "Iran", prompt="w1 w2", target="w3")
    with pytest.raises(UsageError, match="has a single answer"):
        culnig.score(lm, [prompt], policy=MCF, method="culnig:diff")
    several = culnig.score(lm, items, policy=MCF, method="culnig,culnig:sum")
    with pytest.raises(UsageError, match=r"of several methods \(culnig, culnig:sum\); choose one"):
        culnig.select_general(several, several, several)
    with pytest.raises(UsageError, match="no scores of the method 'relp'; the file holds: culnig, culnig:sum"):
        several.of_method("relp")


EVERY = "culnig,culnig:sum:diff,atp:control,atp:dataset,relp,lape,mean_contrast,wanda_neuron,random,ig:steps=1,oracle:sample=1"


@pytest.mark.parametrize("family", ["llama", pytest.param("mixtral", marks=pytest.mark.slow)])
def test_every_method_resumes_shards_and_saves(family, items, tmp_path):
    lm = model_of(family)
    options = {"policy": MCF, "method": EVERY, "blocks": 3, "block_groups": True, "token_budget": 60}
    whole = culnig.score(lm, items, **options)
    whole.save(tmp_path / "whole.safetensors")

    class Stop(Exception):
        pass

    def stop(done):
        raise Stop

    keep = {"checkpoint": tmp_path / "progress", "checkpoint_minutes": 0}
    with pytest.raises(Stop):
        culnig.score(lm, items, progress=stop, **keep, **options)
    done = []
    culnig.score(lm, items, progress=done.append, **keep, **options).save(tmp_path / "again.safetensors")
    assert len(done) > 1 and sum(done) == len(items)
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()

    merged = culnig.merge_scores([culnig.score(lm, items, shard=(i, 2), **options) for i in (2, 1)])
    loaded = culnig.Scores.load(tmp_path / "whole.safetensors")
    assert loaded.methods == whole.methods == merged.methods and list(loaded.sums) == list(whole.sums)
    np.testing.assert_array_equal(merged.tokens, whole.tokens)
    np.testing.assert_array_equal(merged.block_count, loaded.block_count)
    np.testing.assert_array_equal(merged.group_block_count, loaded.group_block_count)
    for kind in ("sums", "blocks", "group_blocks"):
        for key, tensor in getattr(whole, kind).items():
            np.testing.assert_array_equal(getattr(loaded, kind)[key], tensor)
            close = 1e-4 * np.nanmax(np.abs(tensor))
            np.testing.assert_allclose(getattr(merged, kind)[key], tensor, rtol=0, atol=close)


def test_blocks_replace_a_second_scoring(lm, word_items):
    """Sums of blocks add up to the totals, and a half is what scoring its items gives."""
    scores = culnig.score(lm, word_items, policy=MCF, method="culnig,lape", blocks=4)
    assert scores.block_count.sum() == len(word_items) and (scores.block_count > 0).all()
    assert not any(method == "lape" for method, _ in scores.blocks)
    for (method, module), blocks in scores.blocks.items():
        np.testing.assert_allclose(blocks.sum(0), scores.total(module, method), atol=1e-5 * np.abs(blocks).max())
    from culnig.attribution.batch import prepare
    from culnig.attribution.store import block_numbers

    numbers = block_numbers(prepare(lm, word_items, MCF), 4)
    half = scores.of_method("culnig").of_blocks([1, 0, 1, 0])
    taken = [item for item, number in zip(word_items, numbers, strict=True) if number in (0, 2)]
    alone = culnig.score(lm, taken, policy=MCF)
    # Half the items make other batches, and other batches add in other orders.
    np.testing.assert_allclose(half.mean(GATE), alone.mean(GATE), atol=score_tolerance(lm, alone.mean(GATE)))
    for preset in ("corrected", "paper"):
        chosen = [culnig.select_general(s, s, None, t_mlp=0.1, t_attn=0, preset=preset) for s in (half, alone)]
        assert len(chosen[0]) == len(chosen[1]) == 14
    with pytest.raises(UsageError, match="3 weights for 4 blocks"):
        scores.of_blocks([1, 0, 1])
    with pytest.raises(UsageError, match="no per-block sums of lape"):
        scores.of_method("lape").of_blocks([1, 1, 1, 1])
    with pytest.raises(UsageError, match="hold no prompts"):
        scores.of_blocks([0, 0, 0, 0])
    with pytest.raises(UsageError, match="give 2 at least"):
        culnig.score(lm, word_items, policy=MCF, blocks=1)


def test_blocks_keep_groups_apart(lm, word_items):
    """Sums by block and group add up to those by block and to those by group; what selection never takes has none."""
    options = {"policy": MCF, "blocks": 4, "method": "culnig,lape"}
    scores = culnig.score(lm, word_items, block_groups=True, **options)
    plain = culnig.score(lm, word_items, **options)
    assert not plain.group_blocks and plain.group_block_count is None and "block_groups" not in plain.meta
    for key in plain.sums:
        np.testing.assert_array_equal(plain.sums[key], scores.sums[key])
    assert {key for key in scores.blocks if key[1] != UP} == set(scores.group_blocks)
    np.testing.assert_array_equal(scores.group_block_count.sum(1), scores.block_count)
    np.testing.assert_array_equal(scores.group_block_count.sum(0), scores.count)
    for key, sums in scores.group_blocks.items():
        close = 1e-5 * np.abs(sums).max()
        np.testing.assert_allclose(sums.sum(0), scores.sums[key], atol=close)
        np.testing.assert_allclose(sums.sum(1), scores.blocks[key], atol=close)
    whole = scores.of_method("culnig").of_group_blocks([1] * 4)
    assert whole.groups == scores.groups and list(whole.count) == list(scores.count)
    with pytest.raises(UsageError, match="--block-groups"):
        plain.of_group_blocks([1] * 4)
    with pytest.raises(UsageError, match="give a number of blocks"):
        culnig.score(lm, word_items, policy=MCF, block_groups=True)


def test_draws_and_wordings_of_a_question_share_a_block():
    from culnig.attribution.columns import question_id

    items = culnig.load_items("everyday:neur", countries=["Iran"])
    controls = culnig.load_items("everyday:ctrl", countries=["Iran"])
    assert len({question_id(i) for i in items}) < len({i.id for i in items})
    assert [question_id(i) for i in items] == [question_id(i) for i in controls]


def test_on_the_command_line(tmp_path, reference_dir, reference_files, capsys, monkeypatch):
    paths = {}
    for name, part in (("neur", "blend"), ("ctrl", "blendcontrol"), ("crc", "countryrc")):
        paths[name] = tmp_path / f"{name}.safetensors"
        args = ["score", "--model", reference_dir, "--items", reference_files[part], "--out", paths[name], "--json"]
        args += ["--chat-template", "off", "--method", "culnig,culnig:sum,lape", "--blocks", 4]
        done = invoke(*args, "--modules", "mlp.gate_proj,self_attn.v_proj")
        assert done.exit_code == 0, done.output
        assert '"methods"' in done.stdout
    three = [x for name, path in paths.items() for x in (f"--{name}", path)]
    out = tmp_path / "n.json"
    chosen = {}
    for method in ("culnig", "culnig:sum", "lape"):
        done = invoke("select", "general", *three, "--method", method, "--out", out)
        assert done.exit_code == 0, done.output
        chosen[method] = culnig.NeuronSet.load(out)
        assert ("lape does not look at --ctrl and --crc" in done.output) == (method == "lape")
    assert len({frozenset(neurons) for neurons in chosen.values()}) == 3
    scores = [culnig.Scores.load(path).of_method("culnig:sum") for path in paths.values()]
    assert chosen["culnig:sum"] == culnig.select_general(*scores)
    neur = ["select", "general", "--neur", paths["neur"], "--out", out, "--method", "culnig"]
    assert invoke(*neur, "--no-ctrl", "--no-crc").exit_code == 0
    assert culnig.NeuronSet.load(out).provenance["without"] == ["ctrl", "crc"]
    crc = ["--crc", paths["crc"]]
    for args, message in (
        ([*neur, *crc], "give --ctrl FILE, or say --no-ctrl"),
        ([*neur, *crc, "--no-ctrl", "--no-crc"], "--crc and --no-crc exclude each other"),
        (
            [*neur[:-1], "culnig:mean", *crc, "--no-ctrl"],
            "no scores of the method 'culnig:mean'; the file holds: culnig",
        ),
        ([*neur[:-2], *crc, "--no-ctrl"], "several methods"),
        (["run", "--set", "scoring=culnig:median"], "no option 'median'"),
    ):
        code, _, err = use(capsys, monkeypatch, *args)
        assert code == 2 and message in err and len(err.splitlines()) == 1, err


def test_a_method_of_ones_own(lm, items, monkeypatch):
    """The example of docs/extending.md."""
    from culnig.attribution.method import GradientMethod, Seen

    monkeypatch.setattr(METHODS, "_members", dict(METHODS.items()))

    @METHODS.register("gradient_norm")
    class GradientNorm(GradientMethod):
        def contribution(self, seen: Seen) -> torch.Tensor:
            return seen.gradient.abs()

    scores = culnig.score(lm, items, policy=MCF, method="gradient_norm:sum,culnig", blocks=2)
    assert scores.methods == ["gradient_norm:sum", "culnig"] and scores.total(GATE).min() >= 0
    assert len(culnig.select_general(scores.of_method("gradient_norm:sum"), None, None, t_mlp=0.1, t_attn=0)) == 14
