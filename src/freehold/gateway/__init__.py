"""The HTTP edge: knows Starlette, knows no model."""
