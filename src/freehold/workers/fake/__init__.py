"""A test engine: speaks what llama.cpp's server speaks on its socket, deterministically, with faults on demand.

    python -m freehold.workers.fake --socket PATH [--options JSON] [--watch-stdin]
    python -m freehold.workers.fake --tcp PORT

It computes nothing: it repeats the words of the prompt, a byte of text counts as a token, and an embedding is a hash. So it
costs little, and what a gateway adds can be measured against it. What goes wrong, and when, is told by the options of the
process (`options.Options`) or by a directive in the last user message: `[[fake:{"die_at_token": 3}]]` (`options.Faults`).

    options    what may be asked for
    http       HTTP/1.1 on a transport, down to half an answer
    shapes     llama.cpp's answers as bytes
    engine     routes, slots, faults
"""
