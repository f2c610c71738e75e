"""Where models come from. Each source puts files into a folder and has checked them when it returns."""
