"""Every plugin of ours says where it comes from, what it minimises, and how it is configured."""

import inspect
import re

import pytest
import yaml

from recbole_ccd.config import CCDConfig
from recbole_ccd.registry import KINDS, PLUGIN_KINDS, one_or_more, registered

OURS = [(kind, name) for kind in PLUGIN_KINDS for name in registered(kind)]


@pytest.mark.parametrize(("kind", "name"), OURS)
def test_source_formula_and_settings(kind, name):
    text = inspect.cleandoc(registered(kind)[name].__doc__)
    assert ":math:`" in text or ".. math::" in text
    source = re.search(r"^Source: .+?(?=\n\n)", text, re.DOTALL | re.MULTILINE)[0]
    # authors, a title, and where and when it was published
    assert re.search(r'[A-Z]\w+, "[^"]+",\s[\w\s]*\d{4}', source), source
    example = yaml.safe_load(text.split(".. code-block:: yaml\n")[1])
    assert name in one_or_more(example[KINDS[kind].key])
    config = CCDConfig(config_dict=example)
    assert all(config[key] == value for key, value in example.items())


@pytest.mark.parametrize(("kind", "name"), OURS)
def test_public_methods_are_documented(kind, name):
    found = registered(kind)[name]
    methods = {key: value for key, value in vars(found).items() if callable(value) and key[0] != "_"}
    assert all(inspect.getdoc(method) for method in methods.values())
