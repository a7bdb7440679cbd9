"""Conversations in virtual time: real log, chat and hubs; everything around them is a model that misbehaves.

    python -m tests.proof.simulation --conversations 10000 --seed 1
    python -m tests.proof.simulation --seed 4711 --trace            # one conversation, told

A conversation is a room with a few senders, clients and servers, and some of the FAULTS, all drawn from its
seed. The clock jumps to whatever is due next, so a minute takes some milliseconds, and the same seed always
gives the same conversation. Then the faults end, and within BOUND every client must have the whole log; the
judge (judge.py) says whether all was as promised. A failure is shrunk, by leaving out faults, clients and
messages while it still fails, and printed with the command that replays it.

What is real: chat.py, log/, streams.py, hub/local.py and sockets.py over sockets in memory, hub/pushpin.py and
publisher.py over an HTTP client in memory. What is a model: the store, Pushpin (pushpin_model.py), the kernel's
socket buffers, the network, the senders and the clients.
"""
