"""Write docs/data_model.md from workflow/schemas/products.yaml.

Run it after every change of the data model: ``python docs/make_data_model.py``. A test compares.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from alertprod.core.products import columns, products  # noqa: E402

PAGE = ROOT / "docs" / "data_model.md"
HEAD = """# Data model

<!-- Made by docs/make_data_model.py from workflow/schemas/products.yaml. Do not edit. -->

One directory holds all of one detector-visit. `visit` is YYYYMMDDNNNNN (night and sequence number),
`detector` three digits, `night` the day_obs.

```
<results>/{night}/{visit}/{detector}/  isr.fits calexp.fits stars.parquet template.fits
                                       difference.fits dia_sources.parquet
<results>/{night}/{visit}/             predicted.parquet association.parquet forced.parquet
                                       alerts/{detector}.avro published.json metrics.json
<results>/{night}/                     predicted_night.parquet tracklets.parquet linkages.parquet
                                       orbits.parquet attributed.parquet discoveries.psv
                                       summary.json summary.txt report/
<results>/calibs/{calib_run}/{detector}/
                                       bias.fits dark.fits flat_{band}.fits defects.fits
<results>/templates/{template_run}/{tract}/{patch}/{band}/
                                       {airmass_bin}.fits
<results>/db/                          apdb.sqlite moving_objects.sqlite
<results>/mpc/                         sent/ receipts/ replies/ (moving_objects.md)
```

**Conventions.** Pixels are 0-based centres in tables and code, 1-based in FITS headers. Times are
MJD TAI at the midpoint of the exposure. Fluxes are nJy (AB magnitude = 31.4 - 2.5 log10 flux),
angles degrees, unless the unit says otherwise. Positions of detections are ICRS at observation;
`raErr` carries no cos(dec).

**Identifiers.** `diaSourceId` = days since 2010-01-01 (15 bits), sequence (17), detector (9),
counter (22, by falling S/N). `diaObjectId` is the identifier of the object's first DIASource.

**Rejected products.** An exposure that cannot be used leaves files of the right format without
data: images with `STATUS = 'REJECTED'` and `REASON` in the primary header, tables without rows
and the same two in the metadata. `alertprod status NIGHT` lists them.

**Provenance.** Images carry it in the primary header (`PIPEVER`, `RULE`, `CODEHASH`, `CFGHASH`,
`IN0001`, ...), tables in the Parquet metadata key `alertprod` (JSON), figures in `provenance`.
"""
OFFICIAL = (
    "Columns marked *Table.column* are defined by the official schema "
    "([sdm_schemas](https://sdm-schemas.lsst.io/)), which says what they mean."
)


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """Return the page as Markdown."""
    model = products()
    parts = [HEAD, "## Images\n", _images(model), "## Mask planes\n", _planes(model)]
    parts += ["## Header keywords\n", _keywords(model), "## Tables\n", OFFICIAL + "\n"]
    for name, entry in model["tables"].items():
        parts += [f"### {name}\n", f"{_sentence(entry['doc'])}\n", _columns(name)]
    return "\n".join(parts)


def table(headings: list[str], rows: list[list]) -> str:
    """Return a Markdown table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def _images(model: dict) -> str:
    hdus = [
        [f"`{name}`", hdu.get("type", ""), _doc(hdu), "optional" if hdu.get("optional") else ""]
        for name, hdu in model["hdus"].items()
    ]
    images = [[f"`{n}`", e["unit"], _doc(e)] for n, e in model["images"].items()]
    return "\n".join(
        [
            table(["product", "unit", "what it is"], images),
            "Every image product is a FITS file with these HDUs.\n",
            table(["HDU", "type", "what it holds", ""], hdus),
        ]
    )


def _planes(model: dict) -> str:
    planes = model["mask_planes"].items()
    rows = [[f"`{n}`", e["bit"], 1 << e["bit"], _doc(e)] for n, e in planes]
    return table(["plane", "bit", "value", "meaning"], rows)


def _keywords(model: dict) -> str:
    rows = [
        [f"`{name}`", entry["type"], entry.get("unit", ""), _doc(entry)]
        for name, entry in model["keywords"].items()
    ]
    return table(["keyword", "type", "unit", "meaning"], rows)


def _columns(product: str) -> str:
    rows = []
    for name, entry in columns(product).items():
        doc = entry.get("doc", "")
        if doc.endswith(" of the official schema"):
            doc = f"*{doc.removesuffix(' of the official schema')}*"
        null = "null" if entry.get("nullable") else ""
        rows.append([f"`{name}`", entry["type"], entry.get("unit", ""), null, doc])
    return table(["column", "type", "unit", "", "meaning"], rows)


def _doc(entry: dict) -> str:
    return entry["doc"].replace("|", "\\|")


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


if __name__ == "__main__":
    main()
