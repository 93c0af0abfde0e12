"""The pixel stages in a row: the one place above the stages that knows their order."""

from alertprod.calibrate import calibrate_image
from alertprod.difference import subtract_template
from alertprod.isr import remove_signature
from alertprod.sources import measure_sources
from alertprod.template import warp_template

CALIBRATE = (remove_signature, calibrate_image)
DIFFERENCE = (warp_template, subtract_template, measure_sources)
PROCESS = CALIBRATE + DIFFERENCE
