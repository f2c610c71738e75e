"""The official SDKs against the real server."""

import pytest

pytest.register_assert_rewrite("tests.sdk.wire")
