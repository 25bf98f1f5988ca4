"""The driver itself: an error in a cell must not pass unseen."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("server", ["jupyter_lab", "voila"])
def test_an_error_in_a_cell_is_seen(page_for, request, server):
    with pytest.raises(AssertionError, match=r"(?s)error in an output.*boom 17"):
        page_for(request.getfixturevalue(server), ["print('fine')", "raise ValueError(f'boom {10 + 7}')", "print(1)"])
