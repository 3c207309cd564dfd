"""The sink and the source of docs/extending.md keep the contracts."""

from tests.test_docs import blocks_of

example, _, contracts = blocks_of("docs/extending.md")
exec(example + contracts)
