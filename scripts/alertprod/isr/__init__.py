"""Remove the instrument's signature: from raw snaps to one image in electrons."""
