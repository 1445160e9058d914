"""What every reader of tables gives: pieces that fit into memory, and in the end a source of series."""

from distgan.data.tables import Piece, Source, first_line_of, refuse_twice

__all__ = ["Piece", "Source", "first_line_of", "refuse_twice"]
