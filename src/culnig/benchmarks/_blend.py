"""The common parts of the BLEnD benchmarks: the places of its tables, its topics, and their split."""

from __future__ import annotations

from culnig.data.items import Answer
from culnig.data.sources import ALL_SPLITS, Source, Table
from culnig.data.tables import Row
from culnig.errors import DataError

HUB = "nayeon212/BLEnD"
LICENCE = "BLEnD (Myung et al. 2024), CC BY-SA 4.0"
TOPICS = {
    "neur": ("Food", "Work life", "Sport"),
    "test": ("Education", "Family", "Holidays/Celebration/Leisure"),
}
"""The paper's split (METHOD section 4)."""

QUESTIONS = Table(
    "the questions tables (*_questions.csv)",
    (
        "questions/*_questions.csv",
        "[A-Z]*_questions.csv",
        "questions_hf/*_questions.json",
        "short-answer-questions/**/*.parquet",
    ),
    HUB,
    "short-answer-questions",
    ALL_SPLITS,
    several=True,
)
ANNOTATIONS = Table(
    "the annotations (*_data.json)",
    ("annotations_hf/*_data.json", "annotations/**/*.parquet", "*_data.json"),
    HUB,
    "annotations",
    ALL_SPLITS,
    several=True,
)


def topics(source: Source) -> dict[str, str]:
    """Return question id -> topic from the questions tables; the tables of all countries must agree.

    Raises:
        DataError: a topic is unknown, or one question has two topics.
    """
    known = {topic for several in TOPICS.values() for topic in several}
    found: dict[str, str] = {}
    for row in source.rows("questions"):
        question, topic = row.text("ID"), row.text("Topic")
        if topic not in known:
            raise DataError(f"{row.where}: unknown topic {topic!r}; BLEnD's are {', '.join(sorted(known))}")
        if found.setdefault(question, topic) != topic:
            raise DataError(
                f"{row.where}: question {question} has the topic {topic!r} here, {found[question]!r} before"
            )
    return found


def answers_of(row: Row) -> tuple[Answer, ...]:
    """Return the answers that people gave, most votes first (equal ones in file order).

    Raises:
        DataError: an answer has no texts or votes.
    """
    answers = row.get("annotations")
    if not isinstance(answers, list | tuple):
        raise DataError(f"{row.where}: 'annotations' must be a list, not {answers!r}")
    found = []
    for answer in answers:
        try:
            local, english = (tuple(t.strip() for t in answer[key] if t.strip()) for key in ("answers", "en_answers"))
            found.append(Answer(local, english, int(answer["count"])))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"{row.where}: an answer needs 'answers', 'en_answers' and 'count', this is {answer!r}"
            ) from error
    return tuple(sorted(found, key=lambda answer: -answer.votes))
