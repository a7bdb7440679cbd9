"""The rules of removals and of data, one line each, switched off: (name, what it says, where, old, new), the test."""

from typing import Any

from flychat import messages as messages_module
from flychat.log import window as window_module
from flychat.log.window import Window
from flychat.messages import Message

RULES: list[tuple[tuple[str, str, Any, str, str, str], str]] = [
    (
        (
            "keep_what_was_removed",
            "A removal leaves the text of its targets in the window.",
            *(Window, "fold", "if self.oldest <= id < message.id:", "if False:"),
        ),
        "unit/log/test_window.py::test_a_removal_leaves_tombstones_in_the_window_and_in_its_plans",
    ),
    (
        (
            "keep_the_plans",
            "A plan with the text of a removed message is given again.",
            *(Window, "replace", "self._forget_plans()", "pass"),
        ),
        "unit/log/test_window.py::test_a_replaced_message_is_in_no_plan_any_more",
    ),
    (
        (
            "resurrect",
            "What was read before it was removed is put into the window as it was.",
            *(Window, "_prepend_messages", "m.id in removals", "False"),
        ),
        "unit/log/test_window.py::test_the_past_is_put_before_a_window_as_what_its_removals_left_of_it",
    ),
    (
        (
            "compare_with_a_tombstone",
            "The author's late retry of a removed message is told that its id stands for another text.",
            *(window_module, "same_text", "message.removed is None and", ""),
        ),
        "unit/log/test_window.py::test_a_tombstone_answers_its_key_whatever_the_text",
    ),
    (
        (
            "any_data",
            "A repeated POST with other data is answered with the message of the first.",
            *(window_module, "same_text", "_exact(message.data) == _exact(draft.data)", "True"),
        ),
        "unit/log/test_window.py::test_data_are_compared_as_the_text_is[other0]",
    ),
    (
        (
            "equal_to_python",
            "Data are compared as Python does it: 1 is True.",
            *(
                window_module,
                "same_text",
                "_exact(message.data) == _exact(draft.data)",
                "message.data == draft.data",
            ),
        ),
        "unit/log/test_window.py::test_data_are_compared_as_the_text_is[other1]",
    ),
    (
        (
            "leave_the_data",
            "A tombstone keeps the data of its message.",
            *(Message, "tombstone", "data=None, ", ""),
        ),
        "unit/test_messages.py::test_a_tombstone_has_the_place_and_the_key_of_its_message_and_none_of_its_words[more2]",
    ),
    (
        (
            "the_last_removal",
            "A message that is removed twice names the second removal.",
            *(Message, "tombstone", "removal if self.removed is None else self.removed", "removal"),
        ),
        "unit/test_messages.py::test_a_tombstone_has_the_place_and_the_key_of_its_message_and_none_of_its_words[more0]",
    ),
    (
        (
            "lose_the_tombstone",
            "That a message was removed is not stored.",
            *(messages_module, "payload_item", "message.removed is not None", "False"),
        ),
        "unit/test_messages.py::test_the_text_on_the_wire_is_the_json_of_the_fields",
    ),
]
