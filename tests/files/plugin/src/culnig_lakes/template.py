"""The template `lake`."""

from pathlib import Path

PATH = Path(__file__).with_name("lake.yaml")
