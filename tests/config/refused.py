"""What a configuration is refused with."""

import pytest

from recbole_ccd.config import CCDConfig
from recbole_ccd.utils.errors import ConfigError


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def refused(*parts, **sources):
    """The message with which a configuration is refused; it must hold every part and be one line."""
    with pytest.raises(ConfigError) as caught:
        CCDConfig(**sources)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message
    return message
