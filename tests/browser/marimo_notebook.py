"""A marimo notebook: a run that goes on when its cell has ended, and the view of another that has ended."""

import marimo

app = marimo.App()


@app.cell
def _():
    import asyncio

    import hexviz

    def chain(count, seconds):
        graph, before = hexviz.Graph("chain"), []

        async def work(inputs=None):
            await asyncio.sleep(seconds)

        for i in range(count):
            graph.node(work, name=f"n{i}", after=before)
            before = [f"n{i}"]
        return graph

    return chain, hexviz


@app.cell
async def _(chain, hexviz):
    result = await hexviz.run(chain(3, 0.01), store=False)
    hexviz.dashboard(result.recording)


@app.cell
def _(chain, hexviz):
    run = hexviz.start(chain(12, 0.4), live=True, store=False)
    return (run,)


if __name__ == "__main__":
    app.run()
