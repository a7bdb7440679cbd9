"""The promise, with real parts and real faults:  python -m tests.proof.soak --minutes 10 --seed 1

Four stages run side by side: both modes over both stores. Each has processes of flychat, in GRIP mode a Pushpin
(two on DynamoDB, and --pushpin names the programs) and a bad network before its control port, on DynamoDB a bad
network before moto; senders that send until they are answered, and send old messages again, clients that join,
are cut, stall and come back, and operators who remove messages, erase people, clear the rooms and revoke passes.
A round is some seconds of faults, then none; within BOUND every client must have the whole log, and the judge
(judge.py) compares streams, answers and store.

In every other round the rooms are private: clients have tokens, which expire, are revoked, or lose their key. In
the others clocks are wrong, processes are stopped for a while (SIGSTOP), and all of them sleep for longer than
messages are kept (--retention). A client whose right has ended must have a beginning of the log, and nobody
else is told that it has.

Clocks are shifted by a sitecustomize module that only these processes are given: it adds what a file says to
time.time(). At the end: what was checked, what went wrong around it, and the violations, of which there are none.
"""
