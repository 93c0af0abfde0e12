"""Write config/README.md from config/default.yaml and its schema.

Run it after every change of the configuration: ``python docs/make_config_reference.py``. A test
compares. What a key means is the comment behind it in default.yaml.
"""

import re
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
DEFAULT = ROOT / "config" / "default.yaml"
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"
PAGE = ROOT / "config" / "README.md"
HEAD = """# Configuration

<!-- Made by docs/make_config_reference.py from default.yaml and its schema. Do not edit. -->

`default.yaml` holds every key with its default. Leave it as it is and lay a file of your own over
it; it needs only the keys that differ:

```yaml
# config/my_night.yaml
instrument: mycam
sheet: config/mycam
paths: {raw: /data/raw, refcat: /data/refcat}
select: {nights: [20261009]}
isr: {require: []}
```

```
snakemake -c8 --configfile config/my_night.yaml
alertprod preflight --configfile config/my_night.yaml
```

Both read the files in this way: dictionaries are merged key by key, lists and values replaced. An
unknown key or a wrong type stops the run with a sentence that names the key. A change of a stage's
section reruns that stage and what follows it, and nothing else.

| file | what it is |
| --- | --- |
| `default.yaml` | all keys, explained |
| `instruments/*.yaml` | cameras; see `docs/adding_a_camera.md` |
| `simulate/*.yaml` | simulated surveys for `workflow/simulate.smk` |
| others | surveys, laid over the default |
"""
COMMENT = re.compile(r"(?:^|\s)#\s?(.*)$")
SECTIONS_OF_THE_RUN = "The run"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """Return the page as Markdown."""
    with open(SCHEMA, encoding="utf-8") as handle:
        schema = yaml.safe_load(handle)
    groups: dict[str, list[dict[str, Any]]] = {}
    for entry in entries(DEFAULT.read_text(encoding="utf-8")):
        top = entry["path"][0]
        group = top if isinstance(entry["top"], dict) else SECTIONS_OF_THE_RUN
        groups.setdefault(group, []).append(entry)
    parts = [HEAD]
    for group, members in groups.items():
        parts += [f"## {group}\n", _table(members, schema, group)]
    return "\n".join(parts)


def entries(text: str) -> list[dict[str, Any]]:
    """Return the keys of a YAML text that hold values, with the comments behind them.

    Returns
    -------
    list of dict
        ``path`` (tuple of keys), ``value``, ``doc``, ``is_section`` and ``top`` (value of the
        first key).
    """
    lines, found = text.splitlines(), []
    content = yaml.safe_load(text)
    marks = _marks(yaml.compose(text), ())
    ends = [line for _, line, _ in marks[1:]] + [len(lines)]
    for (path, line, is_section), end in zip(marks, ends, strict=True):
        value = content
        for key in path:
            value = value[key]
        doc = _comment(lines, line, max(end, line + 1))
        section = {"is_section": is_section, "top": content[path[0]]}
        found.append({"path": path, "value": value, "doc": doc, **section})
    return found


def _marks(node, path: tuple) -> list[tuple[tuple, int, bool]]:
    """Return path and line of every key, and whether it is a section with keys of its own.

    A dictionary in one line counts as a value.
    """
    found = []
    for key, value in node.value:
        inner = (*path, key.value)
        is_section = isinstance(value, yaml.MappingNode) and not value.flow_style
        found.append((inner, key.start_mark.line, is_section))
        if is_section:
            found += _marks(value, inner)
    return found


def _comment(lines: list[str], first: int, last: int) -> str:
    """Return the comment behind a key, and its continuation on lines of their own."""
    words = []
    for number in range(first, last):
        line = lines[number]
        if number > first and not line.strip():
            break
        match = COMMENT.search(re.sub(r"\"[^\"]*\"|'[^']*'", '""', line))
        if match and (number == first or words):
            words.append(match.group(1).strip())
    return " ".join(words)


def _table(members: list[dict], schema: dict, group: str) -> str:
    lines = ["| key | default | type | meaning |", "| --- | --- | --- | --- |"]
    for entry in members:
        path = entry["path"] if group == SECTIONS_OF_THE_RUN else entry["path"][1:]
        if not path or (entry["is_section"] and not entry["doc"]):
            continue
        default = "" if entry["is_section"] else f"`{_yaml(entry['value'])}`"
        doc = entry["doc"].replace("<", "&lt;")
        cells = [f"`{'.'.join(path)}`", default, _type(schema, entry["path"]), doc]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _yaml(value) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000).strip()
    return text.removesuffix("...").strip()


def _type(schema: dict, path: tuple) -> str:
    """Say what the schema wants of a key."""
    node = schema
    for key in path:
        node = node.get("properties", {}).get(key, {})
    if "enum" in node:
        return " or ".join(str(choice) for choice in node["enum"])
    kind = node.get("type", "")
    kind = " or ".join(kind) if isinstance(kind, list) else kind
    if node.get("minimum"):
        kind += f" >= {node['minimum']}"
    return "" if kind == "object" else kind


if __name__ == "__main__":
    sys.exit(main())
