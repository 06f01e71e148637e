"""`vovnet bench`: measure ways of doing the same side by side, and compare what they cost."""
