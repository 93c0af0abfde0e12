"""Where known solar-system objects are: coarse per night, precise per visit."""

from alertprod.ephemerides.night import predict_night
from alertprod.ephemerides.visit import predict_visit

__all__ = ["predict_night", "predict_visit"]
