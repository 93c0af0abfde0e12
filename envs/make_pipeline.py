"""Write envs/pipeline.yaml from envs/requirements.lock, for those who have conda.

Run it after every change of the lock: ``python envs/make_pipeline.py``. A test compares. Channels
are those of the user; they need nothing but Python and pip.
"""

from pathlib import Path

HERE = Path(__file__).parent
HEAD = """\
# Made by envs/make_pipeline.py from requirements.lock. Do not edit.
name: alertprod
dependencies:
  - python=3.11
  - pip
  - pip:
"""


def pinned(text: str) -> list[str]:
    """Return the requirements of a lock file, without comments."""
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


def environment() -> str:
    """Return the environment as YAML."""
    lock = (HERE / "requirements.lock").read_text(encoding="utf-8")
    return HEAD + "".join(f"      - {line}\n" for line in pinned(lock))


if __name__ == "__main__":
    (HERE / "pipeline.yaml").write_text(environment(), encoding="utf-8")
