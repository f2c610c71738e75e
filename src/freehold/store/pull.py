pull = None
