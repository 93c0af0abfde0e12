"""ADES: the exchange format of the Minor Planet Center, as pipe-separated values and XML.

Written by hand, one header block per observatory and set of equal columns; tests hold the output
to the official validator. Times are UTC.

References
----------
Chesley, S. R. et al. 2017, "Astrometry Data Exchange Standard", IAU Commission X2; ADES 2022.
"""

from __future__ import annotations

import re
from xml.sax.saxutils import escape

import numpy as np

from alertprod.core import observer
from alertprod.core.designations import pack
from alertprod.core.errors import BadInput
from alertprod.core.times import mjd_to_iso

# catalogue names of the MPC that a survey of today may use; the schema itself takes any text
CATALOGUES = frozenset(
    {"Gaia1", "Gaia2", "Gaia3", "Gaia3E", "PS1_DR1", "PS1_DR2", "UCAC4", "UCAC5", "URAT1", "Tyc2",
     "SDSS8", "ATLAS2", "2MASS", "Hip2", "UNK"}
)  # fmt: skip
BANDS = {"u": "Lu", "g": "Lg", "r": "Lr", "i": "Li", "z": "Lz", "y": "Ly"}
_TRKSUB = re.compile(r"^[-A-Za-z0-9_]{1,8}$")
COLUMNS = (
    "permID", "provID", "trkSub", "obsSubID", "mode", "stn", "obsTime", "ra", "dec", "rmsRA",
    "rmsDec", "astCat", "mag", "rmsMag", "band", "photCat", "remarks",
)  # fmt: skip


def names_of(designation: str) -> dict[str, str]:
    """Return the fields by which the MPC knows an object: permID or provID, and trkSub.

    Objects of the catalogue bear their packed designation as trkSub (a number above 619,999 as it
    is, since its packed form has a letter that a trkSub may not have), our own just their name.
    Other names stand as they are; `known_to_mpc` tells whether they may be sent.
    """
    name = designation.strip()
    try:
        packed = pack(name)
    except ValueError:
        return {"trkSub": name}
    short = packed if _TRKSUB.match(packed) else name
    return {"permID" if name.isdigit() else "provID": name, "trkSub": short}


def known_to_mpc(designation: str) -> bool:
    """Say whether a name is a designation of a minor planet, or may be a trkSub."""
    return bool(_TRKSUB.match(names_of(designation)["trkSub"]))


def observations(detections: dict, designations, options: dict) -> list[dict]:
    """ADES records (texts) of detections.

    Parameters
    ----------
    detections : table
        diaSourceId, midpointMjdTai, ra, dec, raErr, decErr [deg], mag, magErr, band.
    designations : sequence of str
        Our own designation of the object of each (at most eight characters), or the catalogue's.
    options : dict
        obscode, astrometric_catalogue, photometric_catalogue.
    """
    times, back = np.unique(detections["midpointMjdTai"], return_inverse=True)
    iso = [mjd_to_iso(float(t)) + "Z" for t in observer.tai_to_utc(times)]
    dec = np.asarray(detections["dec"], float)
    east = np.asarray(detections["raErr"], float) * np.cos(np.deg2rad(dec)) * 3600.0
    north = np.asarray(detections["decErr"], float) * 3600.0
    fixed = {"mode": "CCD", "stn": options["obscode"]}
    known = {name: names_of(name) for name in sorted({str(d) for d in designations})}
    columns = (
        designations, detections["diaSourceId"].tolist(), back.tolist(),
        (np.round(detections["ra"], 7) % 360.0).tolist(), dec.tolist(),
        east.tolist(), north.tolist(),
        detections["mag"].tolist(), detections["magErr"].tolist(), detections["band"],
    )  # fmt: skip
    records = []
    for name, source, k, ra, d, e, n, mag, err, band in zip(*columns, strict=True):
        record = {
            **known[str(name)], "obsSubID": str(source), **fixed, "obsTime": iso[k],
            "ra": f"{ra:.7f}", "dec": f"{d:+.7f}", "rmsRA": _error(e), "rmsDec": _error(n),
            "astCat": options["astrometric_catalogue"],
        }  # fmt: skip
        if 0.0 < mag < 40.0:
            record["mag"] = f"{mag:.2f}"
            if 0.0 < err < np.inf:
                record["rmsMag"] = f"{min(max(err, 0.01), 9.99):.2f}"
            record["band"] = BANDS.get(str(band), str(band) or "UNK")
            record["photCat"] = options["photometric_catalogue"]
        records.append(record)
    return records


def _error(arcsec):
    return f"{min(max(arcsec, 0.001), 99.0):.3f}"


def check(records, options) -> None:
    """Refuse what the schema lets pass: catalogues, stations, names.

    Raises
    ------
    BadInput
        With the first offence and what to do.
    """
    for key in ("astrometric_catalogue", "photometric_catalogue"):
        if options[key] not in CATALOGUES:
            raise BadInput(
                f"daymops.{key} is {options[key]!r}, which the MPC does not know;"
                f" use one of {', '.join(sorted(CATALOGUES))}"
            )
    for stn in {r["stn"] for r in records}:
        if not observer.known_station(stn):
            raise BadInput(f"station {stn!r} has no MPC code; set obscode in the instrument file")
    seen: set[str] = set()
    for r in records:
        if not _TRKSUB.match(r.get("trkSub", "")):
            raise BadInput(
                f"trkSub {r.get('trkSub')!r} is not 1 to 8 characters of A-Z a-z 0-9 - _;"
                " the MPC would refuse it"
            )
        if r["obsSubID"] in seen:
            raise BadInput(
                f"detection {r['obsSubID']} is reported twice; each may belong to one object"
            )
        seen.add(r["obsSubID"])


def header(options) -> list[tuple[str, list[tuple[str, str | list[str]]]]]:
    """Header blocks: (group, [(keyword, value), ...])."""
    return [
        ("observatory", [("mpcCode", options["obscode"])]),
        ("submitter", [("name", options["submitter"])]),
        ("observers", [("name", list(options["observers"]))]),
        ("measurers", [("name", list(options["measurers"]))]),
        ("telescope", [(k, str(v)) for k, v in options["telescope"].items()]),
    ]


def write_psv(records, options) -> str:
    """Pipe-separated text of checked records; an empty text for none."""
    check(records, options)
    lines = ["# version=2022"]
    for group, entries in header(options):
        lines.append(f"# {group}")
        for key, value in entries:
            values = value if isinstance(value, list) else [value]
            lines += [f"! {key} {v}" for v in values]
    return render_psv(lines, records)


def render_psv(header_lines: list[str], records: list[dict]) -> str:
    """Text of a header and records in columns of equal width; an empty text for no records."""
    if not records:
        return ""
    columns = [c for c in COLUMNS if any(c in r for r in records)]
    width = {c: max(len(c), *(len(r.get(c, "")) for r in records)) for c in columns}
    lines = [*header_lines, "|".join(c.ljust(width[c]) for c in columns)]
    lines += ["|".join(r.get(c, "").ljust(width[c]) for c in columns) for r in records]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def read_psv(text: str) -> tuple[list[str], list[dict]]:
    """Read a report of one header and one set of columns; inverse of `render_psv`.

    Returns
    -------
    header_lines : list of str
    records : list of dict
        Texts; a field that is blank is left out.

    Raises
    ------
    BadInput
        If a line has not as many fields as there are columns.
    """
    lines = text.splitlines()
    start = next((k for k, line in enumerate(lines) if line[:1] not in ("#", "!")), len(lines))
    columns = [name.strip() for name in lines[start].split("|")] if start < len(lines) else []
    records = []
    for number, line in enumerate(lines[start + 1 :], start + 2):
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) != len(columns):
            raise BadInput(
                f"line {number} of the report has {len(cells)} fields where its header names "
                f"{len(columns)}; make the report again"
            )
        pairs = zip(columns, cells, strict=True)
        records.append({name: cell for name, cell in pairs if cell})
    return lines[:start], records


def write_xml(records, options) -> str:
    """The same as XML."""
    check(records, options)
    out = ['<?xml version="1.0" encoding="UTF-8"?>', '<ades version="2022">', "<obsBlock>",
           "<obsContext>"]  # fmt: skip
    for group, entries in header(options):
        out.append(f"<{group}>")
        for key, value in entries:
            values = value if isinstance(value, list) else [value]
            out += [f"<{key}>{escape(v)}</{key}>" for v in values]
        out.append(f"</{group}>")
    out += ["</obsContext>", "<obsData>"]
    for r in records:
        body = "".join(f"<{c}>{escape(r[c].strip())}</{c}>" for c in COLUMNS if c in r)
        out.append(f"<optical>{body}</optical>")
    out += ["</obsData>", "</obsBlock>", "</ades>"]
    return "\n".join(out) + "\n"
