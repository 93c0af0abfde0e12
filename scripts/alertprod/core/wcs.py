"""The map from pixels to the sky: a tangent plane with SIP polynomials.

An own class, because a warp evaluates it millions of times and because its numbers must survive
a round trip through a file to the last bit. Conventions: pixels are 0-based with integer centres,
sky is ICRS degrees. Headers are a rendering (1-based, 15 digits); the exact coefficients travel in
a table.

References
----------
Calabretta & Greisen 2002, A&A 395, 1077 (TAN); Shupe et al. 2005, ASPC 347, 491 (SIP).
"""

from dataclasses import dataclass

import numpy as np

from alertprod.core.errors import BadInput

MAX_ORDER = 5
ITERATIONS = 20
TOLERANCE_PX = 1e-9
RAD = np.pi / 180.0


def _frozen(values) -> np.ndarray:
    array = np.array(values, dtype=np.float64)
    array.setflags(write=False)
    return array


@dataclass(frozen=True, eq=False)
class Wcs:
    """A TAN-SIP world coordinate system.

    Parameters
    ----------
    crval : array, shape (2,)
        Right ascension and declination of the tangent point [deg].
    crpix : array, shape (2,)
        0-based pixel of the tangent point.
    cd : array, shape (2, 2)
        Pixel to intermediate world coordinates [deg/px].
    a, b : array, shape (n+1, n+1), optional
        SIP forward polynomials: ``u + sum a[p, q] u^p v^q``, n <= 5.
    ap, bp : array, optional
        SIP inverse polynomials, for headers only: the inverse here is exact (Newton).
    """

    crval: np.ndarray
    crpix: np.ndarray
    cd: np.ndarray
    a: np.ndarray | None = None
    b: np.ndarray | None = None
    ap: np.ndarray | None = None
    bp: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name in ("crval", "crpix", "cd", "a", "b", "ap", "bp"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _frozen(value))
        if (self.a is None) != (self.b is None):
            raise ValueError("SIP needs both polynomials, a and b")
        if self.a is not None and self.a.shape[0] > MAX_ORDER + 1:
            raise ValueError(f"SIP order {self.a.shape[0] - 1} is above {MAX_ORDER}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Wcs):
            return NotImplemented
        return self.to_tables().keys() == other.to_tables().keys() and all(
            np.array_equal(value, other.to_tables()[name])
            for name, value in self.to_tables().items()
        )

    __hash__ = None  # type: ignore[assignment]

    def pix_to_sky(self, x, y) -> tuple[np.ndarray, np.ndarray]:
        """Return right ascension and declination [deg] of pixel positions (any shape)."""
        u = np.asarray(x, dtype=np.float64) - self.crpix[0]
        v = np.asarray(y, dtype=np.float64) - self.crpix[1]
        u, v = self._distort(u, v)
        xi = (self.cd[0, 0] * u + self.cd[0, 1] * v) * RAD
        eta = (self.cd[1, 0] * u + self.cd[1, 1] * v) * RAD
        return deproject(xi, eta, self.crval)

    def sky_to_pix(self, ra, dec) -> tuple[np.ndarray, np.ndarray]:
        """Return 0-based pixels of sky positions [deg]; NaN on the far hemisphere.

        Newton's iteration on the forward polynomial, so that the round trip closes to 1e-6 px.
        """
        xi, eta = project(ra, dec, self.crval)
        inverse = np.linalg.inv(self.cd) / RAD
        u0 = inverse[0, 0] * xi + inverse[0, 1] * eta
        v0 = inverse[1, 0] * xi + inverse[1, 1] * eta
        u, v = u0.copy(), v0.copy()
        if self.a is not None and self.b is not None:
            u, v = self._undistort(u0, v0, self.a, self.b)
        return u + self.crpix[0], v + self.crpix[1]

    def _distort(self, u, v):
        if self.a is None or self.b is None:
            return u, v
        powers = np.polynomial.polynomial.polyval2d
        return u + powers(u, v, self.a), v + powers(u, v, self.b)

    def _undistort(self, u0, v0, a: np.ndarray, b: np.ndarray):
        powers = np.polynomial.polynomial.polyval2d
        au, av = _derivatives(a)
        bu, bv = _derivatives(b)
        u, v = u0.copy(), v0.copy()
        for _ in range(ITERATIONS):
            f = u + powers(u, v, a) - u0
            g = v + powers(u, v, b) - v0
            j11, j12 = 1 + powers(u, v, au), powers(u, v, av)
            j21, j22 = powers(u, v, bu), 1 + powers(u, v, bv)
            determinant = j11 * j22 - j12 * j21
            du = (j22 * f - j12 * g) / determinant
            dv = (j11 * g - j21 * f) / determinant
            u, v = u - du, v - dv
            step = np.nanmax(np.abs(du) + np.abs(dv)) if u.size else 0.0
            if not step > TOLERANCE_PX:
                break
        return u, v

    def jacobian(self, x: float, y: float) -> np.ndarray:
        """Return d(east, north)/d(x, y) [deg/px] at one pixel, shape (2, 2)."""
        u, v = x - self.crpix[0], y - self.crpix[1]
        local = np.eye(2)
        if self.a is not None and self.b is not None:
            powers = np.polynomial.polynomial.polyval2d
            au, av = _derivatives(self.a)
            bu, bv = _derivatives(self.b)
            local = local + np.array(
                [[powers(u, v, au), powers(u, v, av)], [powers(u, v, bu), powers(u, v, bv)]]
            )
        return self.cd @ local

    def pixel_scale(self) -> float:
        """Return the scale at the tangent point [arcsec/px]."""
        return float(np.sqrt(abs(np.linalg.det(self.cd))) * 3600)

    def shifted(self, dx: float, dy: float) -> "Wcs":
        """Return the system of a cut-out whose pixel (0, 0) is pixel (dx, dy) of this one."""
        crpix = self.crpix - np.array([dx, dy])
        return Wcs(self.crval, crpix, self.cd, self.a, self.b, self.ap, self.bp)

    def to_header(self) -> dict[str, float | str | int]:
        """Render as FITS cards: 1-based pixels, 15 digits."""
        kind = "-SIP" if self.a is not None else ""
        cards: dict[str, float | str | int] = {
            "WCSAXES": 2,
            "CTYPE1": "RA---TAN" + kind,
            "CTYPE2": "DEC--TAN" + kind,
            "CUNIT1": "deg",
            "CUNIT2": "deg",
            "CRVAL1": float(self.crval[0]),
            "CRVAL2": float(self.crval[1]),
            "CRPIX1": float(self.crpix[0] + 1),
            "CRPIX2": float(self.crpix[1] + 1),
            "CD1_1": float(self.cd[0, 0]),
            "CD1_2": float(self.cd[0, 1]),
            "CD2_1": float(self.cd[1, 0]),
            "CD2_2": float(self.cd[1, 1]),
            "RADESYS": "ICRS",
        }
        for name in ("a", "b", "ap", "bp"):
            matrix = getattr(self, name)
            if matrix is None:
                continue
            order = matrix.shape[0] - 1
            cards[f"{name.upper()}_ORDER"] = order
            for p in range(order + 1):
                for q in range(order + 1 - p):
                    if matrix[p, q] != 0:
                        cards[f"{name.upper()}_{p}_{q}"] = float(matrix[p, q])
        return cards

    def with_inverse(self, shape: tuple[int, int]) -> "Wcs":
        """Return the same system with inverse polynomials fitted over an image (ny, nx).

        Programs such as DS9 need them in the header; nothing here does.
        """
        if self.a is None:
            return self
        order = self.a.shape[0] - 1
        y, x = np.meshgrid(
            np.linspace(0, shape[0] - 1, 24), np.linspace(0, shape[1] - 1, 24), indexing="ij"
        )
        u, v = (x - self.crpix[0]).ravel(), (y - self.crpix[1]).ravel()
        uu, vv = self._distort(u, v)
        ap = _fit_polynomial(uu, vv, u - uu, order)
        bp = _fit_polynomial(uu, vv, v - vv, order)
        return Wcs(self.crval, self.crpix, self.cd, self.a, self.b, ap, bp)

    def to_tables(self) -> dict[str, np.ndarray]:
        """Return the exact numbers, for storage."""
        names = ("crval", "crpix", "cd", "a", "b", "ap", "bp")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @classmethod
    def from_tables(cls, tables: dict[str, np.ndarray]) -> "Wcs":
        """Rebuild from `to_tables`."""
        return cls(**{name: np.asarray(value) for name, value in tables.items()})

    @classmethod
    def from_header(cls, header, shape: tuple[int, int] | None = None) -> "Wcs":
        """Read TAN or TAN-SIP; other projections with polynomials (TPV) are refitted.

        Parameters
        ----------
        header : mapping
            FITS header. SIP terms count even where CTYPE forgot its ``-SIP``.
        shape : (ny, nx), optional
            Image size, for the refit of foreign systems; NAXIS2, NAXIS1 by default.

        Raises
        ------
        BadInput
            If there is no celestial system in the header.
        """
        if "CRVAL1" not in header or not str(header.get("CTYPE1", "")).startswith(("RA-", "DEC-")):
            raise BadInput(
                "the header has no celestial WCS (CTYPE1 and CRVAL1 are missing). "
                "Solve the image astrometrically first."
            )
        if not str(header["CTYPE1"]).startswith(("RA---TAN", "DEC--TAN")) or "PV1_5" in header:
            shape = shape or (int(header["NAXIS2"]), int(header["NAXIS1"]))
            return _refit(header, shape)
        crval = [float(header["CRVAL1"]), float(header["CRVAL2"])]
        crpix = [float(header["CRPIX1"]) - 1, float(header["CRPIX2"]) - 1]
        polynomials = {
            name.lower(): _sip(header, name)
            for name in ("A", "B", "AP", "BP")
            if f"{name}_ORDER" in header
        }
        return cls(crval, crpix, _cd_matrix(header), **polynomials)  # type: ignore[arg-type]


def project(ra, dec, centre) -> tuple[np.ndarray, np.ndarray]:
    """Project sky positions [deg] on the plane tangent at `centre` [deg]; radians out."""
    a = (np.asarray(ra, dtype=np.float64) - centre[0]) * RAD
    d = np.asarray(dec, dtype=np.float64) * RAD
    s0, c0 = np.sin(centre[1] * RAD), np.cos(centre[1] * RAD)
    cosine = s0 * np.sin(d) + c0 * np.cos(d) * np.cos(a)
    cosine = np.where(cosine > 1e-6, cosine, np.nan)
    xi = np.cos(d) * np.sin(a) / cosine
    eta = (c0 * np.sin(d) - s0 * np.cos(d) * np.cos(a)) / cosine
    return xi, eta


def deproject(xi, eta, centre) -> tuple[np.ndarray, np.ndarray]:
    """Invert `project`: radians on the tangent plane to sky [deg], 0 <= ra < 360."""
    s0, c0 = np.sin(centre[1] * RAD), np.cos(centre[1] * RAD)
    x = c0 - eta * s0
    ra = centre[0] + np.arctan2(xi, x) / RAD
    dec = np.arctan2(s0 + eta * c0, np.hypot(xi, x)) / RAD
    return np.mod(ra, 360.0), dec


def _derivatives(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n = matrix.shape[0]
    du, dv = np.zeros_like(matrix), np.zeros_like(matrix)
    for p in range(1, n):
        du[p - 1] = p * matrix[p]
        dv[:, p - 1] = p * matrix[:, p]
    return du, dv


def _fit_polynomial(u, v, target, order: int) -> np.ndarray:
    scale = max(float(np.abs(u).max()), float(np.abs(v).max()), 1.0)
    terms = [(p, q) for p in range(order + 1) for q in range(order + 1 - p)]
    design = np.stack([(u / scale) ** p * (v / scale) ** q for p, q in terms], axis=1)
    solution = np.linalg.lstsq(design, target, rcond=None)[0]
    matrix = np.zeros((order + 1, order + 1))
    for (p, q), value in zip(terms, solution, strict=True):
        matrix[p, q] = value / scale ** (p + q)
    return matrix


def _cd_matrix(header) -> np.ndarray:
    if "CD1_1" in header:
        return np.array(
            [
                [float(header.get("CD1_1", 0)), float(header.get("CD1_2", 0))],
                [float(header.get("CD2_1", 0)), float(header.get("CD2_2", 0))],
            ]
        )
    pc = np.array(
        [
            [float(header.get("PC1_1", 1)), float(header.get("PC1_2", 0))],
            [float(header.get("PC2_1", 0)), float(header.get("PC2_2", 1))],
        ]
    )
    return np.diag([float(header["CDELT1"]), float(header["CDELT2"])]) @ pc


def _sip(header, name: str) -> np.ndarray:
    order = int(header[f"{name}_ORDER"])
    matrix = np.zeros((order + 1, order + 1))
    for p in range(order + 1):
        for q in range(order + 1):
            matrix[p, q] = float(header.get(f"{name}_{p}_{q}", 0.0))
    return matrix


def _refit(header, shape: tuple[int, int]) -> Wcs:
    """Fit TAN-SIP of order 5 to a foreign system over the image."""
    from astropy.io.fits import Header
    from astropy.wcs import WCS

    foreign = WCS(Header(header) if not isinstance(header, Header) else header)
    y, x = np.meshgrid(
        np.linspace(0, shape[0] - 1, 40), np.linspace(0, shape[1] - 1, 40), indexing="ij"
    )
    ra, dec = foreign.all_pix2world(x.ravel(), y.ravel(), 0)
    crpix = np.array([(shape[1] - 1) / 2, (shape[0] - 1) / 2])
    crval = np.array([float(v) for v in foreign.all_pix2world(*crpix, 0)])
    xi, eta = project(ra, dec, crval)
    u, v = x.ravel() - crpix[0], y.ravel() - crpix[1]
    px, py = _fit_polynomial(u, v, xi / RAD, MAX_ORDER), _fit_polynomial(u, v, eta / RAD, MAX_ORDER)
    cd = np.array([[px[1, 0], px[0, 1]], [py[1, 0], py[0, 1]]])
    px[1, 0] = px[0, 1] = py[1, 0] = py[0, 1] = 0.0
    inverse = np.linalg.inv(cd)
    a = inverse[0, 0] * px + inverse[0, 1] * py
    b = inverse[1, 0] * px + inverse[1, 1] * py
    return Wcs(crval, crpix, cd, a, b)
