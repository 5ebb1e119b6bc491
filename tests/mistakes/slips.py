"""A package of graphs whose author made every ordinary mistake; one factory for each."""

import numpy as np
import torch
from torch import nn

from entracte.graphs import Constants, Graph, Input

X = Input("x", (1, 8))


class Net(nn.Module):
    """Gives what a function makes of x and a linear layer of x."""

    def __init__(self, then=lambda y: y) -> None:
        super().__init__()
        self.linear, self.then = nn.Linear(8, 8), then

    def forward(self, x):
        return self.then(self.linear(x))


class Less(nn.Module):
    """Takes two, and the order matters."""

    def forward(self, a, b, scale=1.0):
        return (a - b) * scale


def returns(then, *outputs: str):
    """A factory of a graph whose `forward` returns something."""
    return lambda: Graph(Net(then).eval(), (X,), outputs or ("y",))


class Hoarder(nn.Module):
    """Returns what it holds."""

    def __init__(self) -> None:
        super().__init__()
        self.held = nn.Parameter(torch.ones(1, 8))

    def forward(self, x):
        return x * 2, self.held * 2


# ---------------------------------------------------------------- factories


def raises():
    raise KeyError("no such model")


def raises_value():
    raise ValueError("two\nlines")


def raises_type():
    return len(3)


def exits():
    raise SystemExit(3)


def none():
    Graph(Net().eval(), (X,), ("y",))


def module_only():
    return Net().eval()


def takes(size, depth=2):
    return Graph(Net().eval(), (X,), ("y",))


NUMBER = 3


# ---------------------------------------------------------------- graphs


def kind_bool():
    return Graph(Net().eval(), (Input("x", (1, 8), "bool"),), ("y",))


def kind_double():
    return Graph(Net().eval(), (Input("x", (1, 8), "float64"),), ("y",))


def shape_float():
    return Graph(Net().eval(), (Input("x", (1, 8.0)),), ("y",))


def shape_negative():
    return Graph(Net().eval(), (Input("x", (-1, 8)),), ("y",))


def shape_none():
    return Graph(Net().eval(), (Input("x", (None, 8)),), ("y",))


def shape_rank_0():
    return Graph(Net().eval(), (Input("x", ()),), ("y",))


def shape_number():
    return Graph(Net().eval(), (Input("x", 8),), ("y",))


def name_dotted():
    return Graph(Net().eval(), (Input("x.0", (1, 8)),), ("y",))


def inputs_twice():
    return Graph(Net().eval(), (X, X), ("y",))


def inputs_none():
    return Graph(Net().eval(), (), ("y",))


def inputs_names():
    return Graph(Net().eval(), ("x",), ("y",))


def outputs_twice():
    return Graph(Net(lambda y: (y, y + 1)).eval(), (X,), ("y", "y"))


def outputs_text():
    return Graph(Net().eval(), (X,), ("y"))


def outputs_none():
    return Graph(Net().eval(), (X,), ())


def output_like_input():
    return Graph(Net().eval(), (X,), ("x",))


def module_text():
    return Graph("net", (X,), ("y",))


def module_class():
    return Graph(Net, (X,), ("y",))


def owns_text():
    return Graph(Net().eval(), (X,), ("y",), owns="linear.")


def training():
    return Graph(Net(), (X,), ("y",))


def other_names():
    return Graph(Net().eval(), (Input("z", (1, 8)),), ("y",))


def other_order():
    return Graph(Less().eval(), (Input("b", (1, 8)), Input("a", (1, 8))), ("y",))


def too_many():
    return Graph(Net().eval(), (X, Input("z", (1, 8))), ("y",))


def too_few():
    return Graph(Less().eval(), (Input("a", (1, 8)),), ("y",))


def variant_other():
    return Graph(Net().eval(), (X,), ("y",), variants={"less": Less().eval()})


# ---------------------------------------------------------------- what forward returns

other_keys = returns(lambda y: {"logits": y, "hidden": y + 1})
nested = returns(lambda y: ((y, y + 1), y), "a", "b")
fewer = returns(lambda y: y, "a", "b")
more = returns(lambda y: (y, y + 1))
numbers = returns(lambda y: (y, 3.0), "a", "b")
nothing = returns(lambda y: None)
rank_0 = returns(lambda y: y.sum())
rank_6 = returns(lambda y: y.reshape(1, 1, 1, 1, 2, 4))
empty = returns(lambda y: y[:, 8:])
truths = returns(lambda y: y > 0)
pairs = returns(lambda y: torch.complex(y, y))
same = returns(lambda y: (y, y), "a", "b")
fails = returns(lambda y: y @ torch.zeros(3, 3))
decides = returns(lambda y: y if y.sum() > 0 else -y)


def as_it_came():
    class Idle(nn.Module):
        def forward(self, x):
            return x

    return Graph(Idle().eval(), (X,), ("y",))


def held():
    return Graph(Hoarder().eval(), (X,), ("y", "z"))


# ---------------------------------------------------------------- constants


def tables_torch():
    return Constants({"t": torch.zeros(3)})


def tables_complex():
    return Constants({"t": np.zeros(3, complex)})


def tables_bool():
    return Constants({"t": np.zeros(3, bool)})


def tables_rank_0():
    return Constants({"t": np.ones(())})


def tables_large():
    return Constants({"t": np.array([0, 2**31])})


def tables_huge():
    return Constants({"t": np.array([0.0, 1e39])})


def tables_none():
    return Constants()


# ---------------------------------------------------------------- no mistakes


def integers():
    class Count(nn.Module):
        def forward(self, x):
            return x + 1

    return Graph(Count().eval(), (Input("x", (1, 8), "int"),), ("y",))


def fractions():
    class Half(nn.Module):
        def forward(self, x):
            return x / 2

    return Graph(Half().eval(), (Input("x", (1,)),), ("y",))


def by_name():
    """A mapping, of which one is wanted, and two of which the order is another."""
    made = {"logits": lambda y: y * 3, "hidden": lambda y: y + 1, "loss": lambda y: y.sum()}
    net = Net(lambda y: {name: then(y) for name, then in made.items()})
    torch.manual_seed(0)
    nn.init.normal_(net.linear.weight)
    return Graph(net.eval(), (X,), ("hidden", "logits"))


def doubles():
    return Graph(Net(lambda y: y.double() / 3).eval(), (X,), ("y",))


def like_an_operation():
    """`relu` is what torch calls the operation before; `linear` the first one."""
    return Graph(Net(lambda y: torch.relu(y) + 1).eval(), (X,), ("relu",))


def sizes_of_numpy():
    return Graph(Net().eval(), [Input("x", tuple(np.array([1, 8])))], ["y"])
