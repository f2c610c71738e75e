"""Long runs against the real program: does it hold under load that does not end, clients that do not behave, and crashes?"""
