"""llama.cpp's server from the wheel ``xllamacpp``: ``python llama_server.py FILE.gguf PORT``."""

import sys
import time

import xllamacpp

parameters = xllamacpp.CommonParams()
parameters.model.path = sys.argv[1]
parameters.model_alias = {"m"}
parameters.port = int(sys.argv[2])
parameters.n_parallel = 2
parameters.n_ctx = 4096
parameters.warmup = False
server = xllamacpp.Server(parameters)
while True:
    time.sleep(60)
