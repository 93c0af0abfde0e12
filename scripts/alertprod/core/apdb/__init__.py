"""The alert production database (APDB) as a materialised view of the files of the fold.

Shared by the stages that write to it: `connection` (SQLite or PostgreSQL), `create` (Rubin's
schema and our own tables), `rows` (bulk writing), `history` (reads as of a visit), `fold` (states,
roll-back, undo journal) and `replay` (files back into rows).
"""
