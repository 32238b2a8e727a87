"""Property tests take what time they need and try the same examples everywhere: a red run means a real fault."""

from hypothesis import settings

settings.register_profile("laptime", deadline=None, derandomize=True)
settings.load_profile("laptime")
