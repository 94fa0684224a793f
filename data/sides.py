"""The size at which networks see images: the long side is brought between two limits.

Small images are enlarged, because a cell of the networks' maps covers 8 or 16 pixels. Masks and seeds keep the
image's own size.
"""

from dataclasses import dataclass

from utils.settings import setting


@dataclass(frozen=True)
class Sides:
    """The limits of the long side; `max_side` holds where both cannot."""

    min_side: int = setting(0, low=0, help="images whose long side is shorter are enlarged to this; 0: as they are")
    max_side: int = setting(0, low=0, help="images whose long side is longer are made this small; 0: as they are")

    def longest(self, longest: int) -> int:
        """The long side of an image that has this one."""
        longest = max(longest, self.min_side)
        return min(longest, self.max_side) if self.max_side else longest

    def size(self, height: int, width: int) -> tuple[int, int]:
        """The height and width of an image that has these."""
        own = max(height, width)
        longest = self.longest(own)
        return max(1, round(height * longest / own)), max(1, round(width * longest / own))

    def or_at_most(self, most: int) -> "Sides":
        """The same, with an upper limit where there is none."""
        return Sides(self.min_side, self.max_side or max(self.min_side, most))


AS_IS = Sides()
