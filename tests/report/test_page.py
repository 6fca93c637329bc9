"""The report page: names and captions from anywhere leave it one page that can be parsed."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import pytest

from culnig.report import render_report
from culnig.run.config import load_config
from culnig.studies import Finding, SavedRun, Section
from culnig.studies.culture_specific import drop_map

HOSTILE = ("<!--<script>", "</script><img src=x onerror=alert(1)>", "-->", "]]>", "\u2028 &lt; \\u003c", "</style><!--")
MANIFEST = {
    "model": {"model": HOSTILE[0], "dtype": "float32", "model_hash": "0"},
    "prompts": {"formulation": "mcf", "chat_template": HOSTILE[1], "bos": "auto"},
    "data": {HOSTILE[1]: {"items": HOSTILE[0]}},
    "machine": {"cores": 2, "system": "Linux"},
    "seed": 0,
    "seconds": {},
    "finished": "now",
    "versions": {},
}


class Page(HTMLParser):
    """Elements, and the text of each script that holds a figure."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ended: list[str] = []
        self.scripts: list[str] = []
        self._figure = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._figure = dict(attrs).get("type") == "application/json"
        if self._figure:
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.ended.append(tag)
        self._figure = False

    def handle_data(self, data):
        if self._figure:
            self.scripts[-1] += data


class Plain(go.Figure):
    """A figure whose JSON is not escaped, as another version or encoder of plotly may write it."""

    def to_json(self, *args, **kwargs):
        return json.dumps(json.loads(super().to_json(*args, **kwargs)), ensure_ascii=False)


@pytest.mark.parametrize("kind", [go.Figure, Plain])
def test_hostile_names_leave_one_page(tmp_path, kind):
    matrix = pd.DataFrame(1.0, index=list(HOSTILE), columns=list(HOSTILE))
    figure = kind(drop_map(matrix, HOSTILE[0], diagonal=True))
    section = Section(HOSTILE[0], list(HOSTILE), [Finding(*HOSTILE[:3])], [(text, figure) for text in HOSTILE])
    section.tables = {"specific-sets": matrix.rename_axis("set").reset_index()}
    section.claim = HOSTILE[1]
    config = load_config("quickstart", [f"sources={json.dumps({name: name for name in HOSTILE})}"])
    path = render_report(SavedRun(tmp_path, config), [section], MANIFEST)
    page = Page(path.read_text(encoding="utf-8"))
    assert len(page.scripts) == len(HOSTILE)
    for f, text in enumerate(page.scripts, start=1):
        saved = Path(tmp_path / "figures" / f"1-{f}.json").read_text(encoding="utf-8")
        assert json.loads(text) == json.loads(saved) and json.loads(text)["data"][0]["x"] == list(HOSTILE)
        assert "<" not in text
    assert page.tags.count("script") == page.ended.count("script") == len(HOSTILE) + 3  # plotly, data, code
    assert "img" not in page.tags and page.ended[-2:] == ["body", "html"]


def test_summary_has_a_heading_for_every_role(tmp_path, capsys):
    """One test set of each role that studies tabulate: the columns are named by the roles."""
    import pandas as pd

    from culnig.report.terminal import print_summary
    from culnig.studies.culture_general import ROLES

    rows = [
        {"role": role, "test": f"{role}-items", "condition": "none", "accuracy": 0.5, "low": 0.4, "high": 0.6}
        for role in ROLES
    ]
    (tmp_path / "tables").mkdir()
    pd.DataFrame(rows).to_parquet(tmp_path / "tables" / "accuracy.parquet")
    print_summary(tmp_path, {})
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("culture", "ability", "facts", "country reading"))
