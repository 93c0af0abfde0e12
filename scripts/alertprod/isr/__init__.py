"""Remove the instrument's signature: from raw snaps to one image in electrons."""

from alertprod.isr.signature import remove_signature

__all__ = ["remove_signature"]
