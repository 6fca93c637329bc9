"""Small files in the schemas of external benchmarks, with invented text."""

from __future__ import annotations

import csv
import json

QUESTIONS = [("Q-01", "Food"), ("Q-02", "Work life"), ("Q-03", "Education"), ("Q-04", "Sport")]


def write_csv(path, rows, delimiter=",", encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding=encoding) as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def blend_row(number, question="Q-01", country="South_Korea", **changes):
    choices = {"A": "dust", "B": "rain", "C": "snow", "D": "wind"}
    prompt = (
        f"What falls on {question} there?\n Without any explanation, choose one."
        ' Provide as JSON format: {"answer_choice":""}\n\nA. dust\nB. rain\nC. snow\nD. wind\n\nAnswer:'
    )
    row = {"MCQID": f"{question}_{number}", "ID": question, "country": country, "prompt": prompt}
    return row | {"choices": json.dumps(choices), "choice_countries": "{}", "answer_idx": "ABCD"[number % 4]} | changes


def blend_rows():
    rows = [blend_row(n) for n in range(7)] + [blend_row(n, "Q-03", "US") for n in range(2)]
    return [*rows, blend_row(9, "Q-02", "Northern_Nigeria")]


def write_questions(folder):
    rows = [{"ID": name, "Topic": topic, "Question": "?", "Translation": "?"} for name, topic in QUESTIONS]
    for country in ("US", "South_Korea"):
        write_csv(folder / f"questions/{country}_questions.csv", rows)


def culture_rows(count=8):
    options = {f"prompt_option_{letter}": f"{letter} thing" for letter in "abcd"}
    rows = [{"data_idx": n, "question_idx": n, "prompt_question": f"What {n}?", **options} for n in range(count)]
    return [row | {"answer": "A", "country": ("United Kingdom", "Taiwan")[n % 2]} for n, row in enumerate(rows)]


def survey(folder, answers, countries):
    """Write files of WorldValuesBench; `answers` maps a question to one answer a person, in another order."""
    people = [f"p{n}" for n in range(len(countries))]
    write_csv(
        folder / "full_demographic_qa.tsv",
        [{"D_INTERVIEW": p, "B_COUNTRY": c} for p, c in zip(people, countries, strict=True)],
        "\t",
    )
    rows = [{"D_INTERVIEW": p, **{q: given[n] for q, given in answers.items()}} for n, p in enumerate(people)]
    write_csv(folder / "full_value_qa.tsv", rows[::-1], "\t")
    scale = {"category": "c", "use_case": "value", "answer_scale_min": 1, "answer_scale_max": 4}
    metadata = {name: {"question": f"How {name}?", **scale} for name in [*answers, "Q999"]}
    write_json(folder / "question_metadata.json", metadata | {"B_COUNTRY": {"use_case": "demographic"}})
