"""Science minus template: kernel matching, subtraction, decorrelation."""

from alertprod.difference.subtract import subtract_template

__all__ = ["subtract_template"]
