"""The rules of removals and of data, one line each, switched off: (name, what it says, where, old, new), the test."""

from typing import Any

from flychat import commits as commits_module
from flychat.log import reading as reading_module
from flychat.log import window as window_module
from flychat.log.removal import Removals
from flychat.log.upkeep import Upkeep
from flychat.log.view import View
from flychat.log.window import Window
from flychat.messages import Message
from flychat.storage.sqlite import SqliteEngine
from flychat.web import removals as removals_module
from flychat.web.operators import OperatorHandler
from flychat.web.removals import MessageHandler
from flychat.web.shortcut import Shortcut

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
            *(Window, "_prepend_messages", "removed_by(self.messages)", "{}"),
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
            *(Message, "tombstone", "removal.id if self.removed is None else self.removed", "removal.id"),
        ),
        "unit/test_messages.py::test_a_tombstone_has_the_place_and_the_key_of_its_message_and_none_of_its_words[more0]",
    ),
    (
        (
            "lose_the_tombstone",
            "That a message was removed is not stored.",
            *(commits_module, "payload_item", "message.removed is not None", "False"),
        ),
        "unit/test_messages.py::test_the_text_on_the_wire_is_the_json_of_the_fields",
    ),
    (
        (
            "the_store_first",
            "A removal is told before the store is rewritten.",
            *(Removals, "remove", "await self._finish(room, entry, commits)", "pass"),
        ),
        "unit/log/test_removal.py::test_a_removed_message_is_a_tombstone_everywhere_and_the_others_stay",
    ),
    (
        (
            "a_removal_each",
            "A message that was removed can be removed again.",
            *(Removals, "remove", "len(removed) == len(targets)", "False"),
        ),
        "unit/log/test_removal.py::test_a_second_removal_gets_the_first_ones_entry_whoever_asks",
    ),
    (
        (
            "lose_the_race",
            "Who lost a rewrite to another removal takes that for its own.",
            *(Removals, "_rewrite", "commit = commits[-1]", "return"),
        ),
        "unit/log/test_removal.py::test_processes_that_remove_from_one_commit_do_not_undo_each_other",
    ),
    (
        (
            "no_repair",
            "A window is loaded without a look at what its removals name.",
            *(View, "_load", "if message.removes", "if False"),
        ),
        "unit/log/test_removal.py::test_a_process_that_loads_the_room_finishes_what_another_one_left",
    ),
    (
        (
            "show_what_is_not_rewritten",
            "A reading shows the text of a message whose removal it has.",
            *(reading_module, "messages_of", "if removals else", "if False else"),
        ),
        "unit/log/test_removal.py::test_what_fails_after_the_entry_is_unavailable_and_the_same_again_finishes_it",
    ),
    (
        (
            "left_to_readers",
            "A write-ahead log that a reader held when something was erased is not emptied after that.",
            *(SqliteEngine, "_overwrite", "self._emptying is None", "False"),
        ),
        "contract/test_storage.py::"
        "test_a_reader_beside_the_server_keeps_a_removed_text_for_no_longer_than_it_reads",
    ),
    (
        (
            "left_by_the_killed",
            "What a process erased that was killed then stays in the write-ahead log.",
            *(SqliteEngine, "open", "if not reading:", "if False:"),
        ),
        "contract/test_storage.py::"
        "test_what_a_process_erased_that_was_killed_then_leaves_both_files_when_the_next_one_starts",
    ),
    (
        (
            "left_by_a_bad_disk",
            "What was erased while the disk is full stays in the write-ahead log.",
            *(SqliteEngine, "_emptied", "return False", "return True"),
        ),
        "contract/test_storage.py::test_what_was_erased_while_the_disk_fails_leaves_both_files_when_it_works",
    ),
    (
        (
            "anybody_removes",
            "Whoever may write removes what others have written.",
            *(removals_module, "remove", "message.user != who.sub", "False"),
        ),
        "contract/test_removal.py::test_an_author_removes_what_he_wrote_and_nothing_else",
    ),
    (
        (
            "remove_a_removal",
            "A removal can be removed.",
            *(removals_module, "remove", "if message.removes:", "if False:"),
        ),
        "contract/test_removal.py::test_a_removal_cannot_be_removed",
    ),
    (
        (
            "any_origin_removes",
            "A page of any origin removes messages with its visitor's cookie.",
            *(MessageHandler, "delete", "if not self.allow_origin():", "if self.allow_origin() is None:"),
        ),
        "contract/test_removal.py::test_other_origins_remove_if_they_may_post_and_preflights_say_so",
    ),
    (
        (
            "erase_the_text_only",
            "An erasure leaves the name and the user.",
            *(Message, "tombstone", "if removal.erases else self", "if False else self"),
        ),
        "contract/test_upkeep.py::test_a_person_is_erased_with_name_and_user_and_nobody_else[standalone]",
    ),
    (
        (
            "erase_what_is_read_only",
            "What has expired, and is not deleted yet, keeps the names of who is erased.",
            *(Upkeep, "erase", "if commit.first not in shown:", "if False:"),
        ),
        "unit/log/test_removal.py::test_what_has_expired_and_is_not_deleted_yet_is_erased_too",
    ),
    (
        (
            "forget_that_it_erases",
            "That an entry erases is not stored: who finishes it leaves the names.",
            *(commits_module, "payload_item", "if message.erases:", "if False:"),
        ),
        "unit/test_messages.py::test_what_erases_is_stored_and_not_told",
    ),
    (
        (
            "erase_what_removes",
            "A removal that is erased is taken for a message: what it removed is shown again.",
            *(Message, "tombstone", "if self.removes:", "if False:"),
        ),
        "contract/test_upkeep.py::test_what_a_person_removed_stays_removed_without_their_name[standalone]",
    ),
    (
        (
            "clear_in_silence",
            "Nobody who holds a stream is told that the room was cleared.",
            *(Upkeep, "_voided", "self._common.committed(void)", "pass"),
        ),
        "contract/test_upkeep.py::test_a_cleared_room_resets_its_streams_at_once_and_its_ids_go_on[standalone]",
    ),
    (
        (
            "clear_the_store_only",
            "A cleared room is shown from memory.",
            *(Upkeep, "_voided", "room.window.fold(void, self._common.now())", "True"),
        ),
        "unit/log/test_removal.py::test_a_room_that_is_cleared_is_empty_at_once_and_told_before_it_is_emptied",
    ),
    (
        (
            "everybody_moderates",
            "Whoever has a token erases and clears.",
            *(OperatorHandler, "moderator", "self.require(room, MODERATE)", 'self.require(room, "w")'),
        ),
        "contract/test_upkeep.py::test_only_moderators_of_the_room_may[standalone-/clearings/-content0]",
    ),
    (
        (
            "shortcut_a_removal",
            "The shortcut stores a message that asks for a removal.",
            *(Shortcut, "_post", 'if "removes" in fields:', "if False:"),
        ),
        "unit/web/test_shortcut_posts.py::test_a_post_that_asks_for_a_removal_is_left_to_tornado",
    ),
]
SIMULATED = {"compare_with_a_tombstone", "the_store_first"}  # which the simulation notices as well
