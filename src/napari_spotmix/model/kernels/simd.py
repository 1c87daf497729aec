"""Numbers side by side, as a processor's vector registers hold them: a type for compiled functions.

A compiler makes use of those registers only in long plain loops, and has to make sure each time that arrays
do not overlap. What a spot needs is short: sums over some rows of a table, which can stay in a register until
they are done, and steps that wait for each other, which several spots can take at once, each in its *lane*.

``+ - * /`` and the functions below take lanes, or lanes and a number. In plain Python lanes are NumPy arrays,
and say what the compiled functions mean.
"""

from __future__ import annotations

import operator

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

__all__ = [
    "WIDTH",
    "broadcast",
    "count_above",
    "entry",
    "larger",
    "largest_of",
    "load",
    "prefetch",
    "smaller",
    "store",
    "sum_of",
    "transpose",
]

#: Numbers side by side. Where registers are shorter, several stand for one.
WIDTH = 8

#: A product and a sum may be rounded once, where the processor can do so.
_FUSED = ("contract",)


def load(array, row, column=None):
    """Return the lanes that begin at an element of a table, or of a row of numbers."""
    return _from(array, row, column)[:WIDTH].copy()


def store(lanes, array, row, column=None):
    """Write lanes to an array, from an element on; to a stack of matrices, as one entry of each."""
    if array.ndim == 3:
        array[row, column] = lanes
    else:
        _from(array, row, column)[: len(lanes)] = lanes


def _from(array, row, column):
    return array[row:] if column is None else array[row, column:]


def prefetch(array, row):
    """Have a row of a table, or a number, brought near before it is needed."""


def transpose(source, row, column, target, to_row, to_column):
    """Write `WIDTH` by `WIDTH` numbers of a table to another, rows as columns, from an element of each on."""
    square = source[row : row + WIDTH, column : column + WIDTH]
    target[to_row : to_row + WIDTH, to_column : to_column + WIDTH] = square.T


def entry(matrices, row, column):
    """Return a matrix's entry, or from a stack of matrices side by side the lanes of theirs."""
    return matrices[row, column]


def broadcast(number):
    """Return a number in every lane."""
    return np.full(WIDTH, number)


def larger(a, b):
    """Return the larger number of each lane."""
    return np.where(a > b, a, b)


def smaller(a, b):
    """Return the smaller number of each lane."""
    return np.where(a < b, a, b)


def count_above(a, b):
    """Return in how many lanes `a` is larger than `b`."""
    return int(np.count_nonzero(a > b))


def largest_of(lanes):
    """Return the largest of the numbers side by side."""
    return lanes.max()


def sum_of(lanes):
    """Return the sum of the numbers side by side."""
    return lanes.sum()


class _LanesType(types.Type):
    """The type of numbers side by side."""

    def __init__(self):
        super().__init__(name="Lanes")


_LANES = _LanesType()
_DOUBLE, _SINGLE = ir.VectorType(ir.DoubleType(), WIDTH), ir.VectorType(ir.FloatType(), WIDTH)


@register_model(_LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, lanes):
        super().__init__(manager, lanes, _DOUBLE)


def _pointer(context, builder, kind, array, places, vector):
    if kind.layout != "C":
        raise TypeError("Lanes stand side by side in memory: the array must be C-contiguous.")
    found = context.make_array(kind)(context, builder, array)
    place = cgutils.get_item_pointer(context, builder, kind, found, places, wraparound=False)
    return builder.bitcast(place, vector.as_pointer())


def _read(context, builder, kind, array, places):
    """Load numbers, single ones as double ones."""
    if kind.dtype == types.float64:
        return builder.load(_pointer(context, builder, kind, array, places, _DOUBLE), align=8)
    found = builder.load(_pointer(context, builder, kind, array, places, _SINGLE), align=4)
    return builder.fpext(found, _DOUBLE)


def _write(context, builder, kind, array, places, value):
    """Store numbers, where the array holds single ones as such."""
    if kind.dtype == types.float64:
        builder.store(value, _pointer(context, builder, kind, array, places, _DOUBLE), align=8)
    else:
        place = _pointer(context, builder, kind, array, places, _SINGLE)
        builder.store(builder.fptrunc(value, _SINGLE), place, align=4)
    return context.get_dummy_value()


@intrinsic
def _load_from_table(typing, table, row, column):
    def write(context, builder, signature, given):
        return _read(context, builder, table, given[0], given[1:])

    return _LANES(table, types.intp, types.intp), write


@intrinsic
def _load_from_row(typing, row, place):
    def write(context, builder, signature, given):
        return _read(context, builder, row, given[0], given[1:])

    return _LANES(row, types.intp), write


@overload(load)
def _(array, row, column=None):
    if array.ndim == 1:
        return lambda array, row, column=None: _load_from_row(array, row)
    return lambda array, row, column=None: _load_from_table(array, row, column)


@intrinsic
def _entries(typing, stack, row, column):
    def write(context, builder, signature, given):
        first = context.get_constant(types.intp, 0)
        return _read(context, builder, stack, given[0], [*given[1:], first])

    return _LANES(stack, types.intp, types.intp), write


@overload(entry)
def _(matrices, row, column):
    if matrices.ndim == 3:
        return lambda matrices, row, column: _entries(matrices, row, column)
    return lambda matrices, row, column: matrices[row, column]


@intrinsic
def _store_to_table(typing, lanes, table, row, column):
    def write(context, builder, signature, given):
        return _write(context, builder, table, given[1], given[2:], given[0])

    return types.void(lanes, table, types.intp, types.intp), write


@intrinsic
def _store_to_row(typing, lanes, row, place):
    def write(context, builder, signature, given):
        return _write(context, builder, row, given[1], given[2:], given[0])

    return types.void(lanes, row, types.intp), write


@intrinsic
def _store_to_stack(typing, lanes, stack, row, column):
    def write(context, builder, signature, given):
        places = [*given[2:], context.get_constant(types.intp, 0)]
        return _write(context, builder, stack, given[1], places, given[0])

    return types.void(lanes, stack, types.intp, types.intp), write


@overload(store)
def _(lanes, array, row, column=None):
    if array.ndim == 3:
        return lambda lanes, array, row, column=None: _store_to_stack(lanes, array, row, column)
    if array.ndim == 1:
        return lambda lanes, array, row, column=None: _store_to_row(lanes, array, row)
    return lambda lanes, array, row, column=None: _store_to_table(lanes, array, row, column)


#: Bytes that come at once.
_LINE = 64


@intrinsic
def _prefetch(typing, array, row):
    def write(context, builder, signature, given):
        rest = [context.get_constant(types.intp, 0)] * (array.ndim - 1)
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        found = context.make_array(array)(context, builder, given[0])
        place = cgutils.get_item_pointer(context, builder, array, found, [given[1], *rest], wraparound=False)
        start = builder.bitcast(place, byte)
        # To be read, and kept in every cache.
        how = [ir.Constant(number, 0), ir.Constant(number, 3), ir.Constant(number, 1)]
        with cgutils.for_range_slice(
            builder,
            context.get_constant(types.intp, 0),
            _bytes_of_row(context, builder, array, found),
            context.get_constant(types.intp, _LINE),
            inc=True,
        ) as (offset, _):
            builder.call(fetch, [builder.gep(start, [offset]), *how])
        return context.get_dummy_value()

    return types.void(array, types.intp), write


def _bytes_of_row(context, builder, array, found):
    if array.ndim == 1:
        return context.get_constant(types.intp, 1)
    return builder.extract_value(found.strides, 0)


overload(prefetch)(lambda array, row: lambda array, row: _prefetch(array, row))


@intrinsic
def _transpose(typing, source, row, column, target, to_row, to_column):
    place = types.intp

    def write(context, builder, signature, given):
        def at(row, r):
            return builder.add(row, context.get_constant(types.intp, r))

        rows = [_read(context, builder, source, given[0], [at(given[1], r), given[2]]) for r in range(WIDTH)]
        for s in (1, 2, 4):
            # Blocks of s by s numbers beside the diagonal change places.
            for i in (i for i in range(WIDTH) if not i & s):
                a, b = rows[i], rows[i | s]
                rows[i] = _mixed(builder, a, b, [WIDTH + (k ^ s) if k & s else k for k in range(WIDTH)])
                rows[i | s] = _mixed(builder, a, b, [WIDTH + k if k & s else k | s for k in range(WIDTH)])
        for r, lanes in enumerate(rows):
            _write(context, builder, target, given[3], [at(given[4], r), given[5]], lanes)
        return context.get_dummy_value()

    return types.void(source, place, place, target, place, place), write


def _mixed(builder, a, b, chosen):
    """Take some lanes of `a`, and of `b`, whose lanes are counted on from those of `a`."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(chosen)), chosen))


@overload(transpose)
def _(source, row, column, target, to_row, to_column):
    return lambda source, row, column, target, to_row, to_column: _transpose(
        source, row, column, target, to_row, to_column
    )


def _spread(builder, number):
    empty = ir.Constant(_DOUBLE, ir.Undefined)
    first = builder.insert_element(empty, number, ir.Constant(ir.IntType(32), 0))
    return _mixed(builder, first, empty, [0] * WIDTH)


@intrinsic
def _broadcast(typing, number):
    return _LANES(types.float64), lambda context, builder, signature, given: _spread(builder, given[0])


overload(broadcast)(lambda number: lambda number: _broadcast(number))


def _joining(function, join):
    """Let `join` write how two numbers become one, until all of the lanes are one."""

    @intrinsic
    def joined(typing, lanes):
        def write(context, builder, signature, given):
            places = (ir.Constant(ir.IntType(32), k) for k in range(WIDTH))
            left = [builder.extract_element(given[0], place) for place in places]
            while len(left) > 1:
                left = [join(builder, a, b) for a, b in zip(left[::2], left[1::2], strict=True)]
            return left[0]

        return types.float64(lanes), write

    overload(function)(lambda lanes: lambda lanes: joined(lanes))


_joining(sum_of, lambda builder, a, b: builder.fadd(a, b))
_joining(largest_of, lambda builder, a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b))


def _define(function, build, result=None):
    """Let `build` write what a function of two means, where one or both are lanes."""

    @intrinsic
    def of_lanes(typing, a, b):
        def write(context, builder, signature, given):
            both = [
                value if isinstance(kind, _LanesType) else _spread(builder, value)
                for kind, value in zip((a, b), given, strict=True)
            ]
            return build(builder, *both)

        return (result or _LANES)(a, b), write

    @overload(function)
    def _(a, b):
        if isinstance(a, _LanesType) and (b is a or isinstance(b, types.Float)):
            return lambda a, b: of_lanes(a, b)
        if isinstance(b, _LanesType) and isinstance(a, types.Float):
            return lambda a, b: of_lanes(a, b)
        return None


def _count(builder, condition):
    bits = builder.bitcast(condition, ir.IntType(condition.type.count))
    return builder.zext(builder.ctpop(bits), ir.IntType(types.intp.bitwidth))


_define(operator.add, lambda builder, a, b: builder.fadd(a, b, flags=_FUSED))
_define(operator.sub, lambda builder, a, b: builder.fsub(a, b, flags=_FUSED))
_define(operator.mul, lambda builder, a, b: builder.fmul(a, b, flags=_FUSED))
_define(operator.truediv, lambda builder, a, b: builder.fdiv(a, b))
_define(larger, lambda builder, a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b))
_define(smaller, lambda builder, a, b: builder.select(builder.fcmp_ordered("<", a, b), a, b))
_define(
    count_above, lambda builder, a, b: _count(builder, builder.fcmp_ordered(">", a, b)), result=types.intp
)
