"""Other packages, each trained by its own loop: read by their interpreters, never by ours.

`python -m benchmarks.peers.<name> JOB` speaks `benchmarks.protocol`. A file imports torch and its
package; what it sets beside sizes, and why, stands in its docstring. All run on the CPU.
"""
