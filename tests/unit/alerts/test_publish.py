"""Handing alerts on."""

import json

import pytest

from alertprod.alerts import publish_visit
from alertprod.alerts.packet import container
from alertprod.alerts.publish import FilePublisher
from alertprod.core.errors import BadInput


def test_publishing_again_replaces_the_file_and_leaves_nothing_else(tmp_path):
    publisher = FilePublisher(tmp_path / "alerts")
    for content in (b"first", b"second"):
        path = publisher.publish(2025112100100, 7, content)
    assert [p.name for p in (tmp_path / "alerts").iterdir()] == ["007.avro"]
    with open(path, "rb") as handle:
        assert handle.read() == b"second"


def test_what_was_published_is_noted_with_counts(tmp_path):
    publisher = FilePublisher(tmp_path / "alerts")
    publisher.publish(1, 3, container([], {"detector": "3"}))
    text = publish_visit(str(tmp_path / "alerts"), {"visit": 2025112100100}, config={})
    facts = json.loads(text)
    assert facts["alerts"] == 0 and facts["detectors"]["003"]["file"] == "alerts/003.avro"
    assert len(facts["detectors"]["003"]["sha256"]) == 64


def test_a_container_cut_short_is_reported(tmp_path):
    publisher = FilePublisher(tmp_path / "alerts")
    publisher.publish(1, 3, container([], {})[:200])
    with pytest.raises(BadInput, match="cut short"):
        publish_visit(str(tmp_path / "alerts"), {"visit": 1}, config={})
