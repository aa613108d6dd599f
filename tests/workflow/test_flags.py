"""Values of the config as command-line flags."""

import json

from cloob.workflow.flags import escape_for_report, flags, named_paths


def test_underscores_become_dashes_and_lists_are_repeated():
    assert flags({"learning_rate": 0.1, "names": ["a", "b c"], "seed": 1}) == [
        "--learning-rate=0.1",
        "--names=a",
        "--names=b c",
        "--seed=1",
    ]


def test_none_is_left_out_and_empty_text_is_not():
    assert flags({"checksum": None, "title": "", "names": ["a", None], "nothing": []}) == [
        "--title=",
        "--names=a",
    ]


def test_named_paths_have_the_form_name_path():
    assert named_paths({"cc3m/train": "a=b.json"}) == ["cc3m/train=a=b.json"]


def test_escapes_for_the_report_are_those_of_json():
    text = 'a</script>\\n\n\t"é\x7f'
    escaped = escape_for_report(text)
    assert "<" not in escaped and "\n" not in escaped
    assert json.loads('"' + escaped.replace('"', '\\"') + '"') == text
