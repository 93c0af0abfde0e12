"""The commands of ``alertprod``, one module each."""
