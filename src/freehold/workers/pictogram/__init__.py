"""The worker of Freehold's own drawing model: pictograms from words, computed with numpy."""
