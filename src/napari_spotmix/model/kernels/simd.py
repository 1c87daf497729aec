"""SIMD vectors as a type for compiled functions.

A compiler uses a processor's vector registers only in long plain loops, and has to check each time that
arrays do not overlap. The work for one spot is short: sums over a few rows of a table, which can stay in a
register until they are done, and steps that depend on each other, which several spots can take at once, each
in its own *lane* of a vector.

``+ - * /`` and the functions below take vectors, or a vector and a number. In plain Python a vector is a
NumPy array of `WIDTH` numbers; these plain functions define what the compiled ones do.
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

#: Lanes of a vector. If registers are shorter, several of them form one vector.
WIDTH = 8

#: A product and a sum may be rounded once, if the processor can do so.
_FUSED = ("contract",)


def load(array, row, column=None):
    """Return the vector that begins at an element of a table, or of a row of numbers."""
    return _from(array, row, column)[:WIDTH].copy()


def store(vector, array, row, column=None):
    """Write a vector to an array, from an element on; to a stack of matrices, as one entry of each."""
    if array.ndim == 3:
        array[row, column] = vector
    else:
        _from(array, row, column)[: len(vector)] = vector


def _from(array, row, column):
    return array[row:] if column is None else array[row, column:]


def prefetch(array, row):
    """Load a row of a table, or a number, into the cache before it is needed."""


def transpose(source, row, column, target, to_row, to_column):
    """Write `WIDTH` by `WIDTH` numbers of a table to another, rows as columns, from an element of each on."""
    square = source[row : row + WIDTH, column : column + WIDTH]
    target[to_row : to_row + WIDTH, to_column : to_column + WIDTH] = square.T


def entry(matrices, row, column):
    """Return an entry of a matrix, or the vector of that entry of each matrix in a stack."""
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


def largest_of(vector):
    """Return the largest number of a vector."""
    return vector.max()


def sum_of(vector):
    """Return the sum of the numbers of a vector."""
    return vector.sum()


class _VectorType(types.Type):
    """The type of a vector of `WIDTH` doubles."""

    def __init__(self):
        super().__init__(name="Vector")


_VECTOR = _VectorType()
_DOUBLE, _SINGLE = ir.VectorType(ir.DoubleType(), WIDTH), ir.VectorType(ir.FloatType(), WIDTH)


@register_model(_VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, _DOUBLE)


def _pointer(context, builder, kind, array, positions, vector):
    if kind.layout != "C":
        raise TypeError("A vector is loaded from consecutive numbers: the array must be C-contiguous.")
    found = context.make_array(kind)(context, builder, array)
    position = cgutils.get_item_pointer(context, builder, kind, found, positions, wraparound=False)
    return builder.bitcast(position, vector.as_pointer())


def _read(context, builder, kind, array, positions):
    """Load numbers, converted to double precision."""
    if kind.dtype == types.float64:
        return builder.load(_pointer(context, builder, kind, array, positions, _DOUBLE), align=8)
    found = builder.load(_pointer(context, builder, kind, array, positions, _SINGLE), align=4)
    return builder.fpext(found, _DOUBLE)


def _write(context, builder, kind, array, positions, value):
    """Store numbers, converted to single precision if the array holds such."""
    if kind.dtype == types.float64:
        builder.store(value, _pointer(context, builder, kind, array, positions, _DOUBLE), align=8)
    else:
        position = _pointer(context, builder, kind, array, positions, _SINGLE)
        builder.store(builder.fptrunc(value, _SINGLE), position, align=4)
    return context.get_dummy_value()


@intrinsic
def _load_from_table(typing, table, row, column):
    def write(context, builder, signature, given):
        return _read(context, builder, table, given[0], given[1:])

    return _VECTOR(table, types.intp, types.intp), write


@intrinsic
def _load_from_row(typing, row, position):
    def write(context, builder, signature, given):
        return _read(context, builder, row, given[0], given[1:])

    return _VECTOR(row, types.intp), write


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

    return _VECTOR(stack, types.intp, types.intp), write


@overload(entry)
def _(matrices, row, column):
    if matrices.ndim == 3:
        return lambda matrices, row, column: _entries(matrices, row, column)
    return lambda matrices, row, column: matrices[row, column]


@intrinsic
def _store_to_table(typing, vector, table, row, column):
    def write(context, builder, signature, given):
        return _write(context, builder, table, given[1], given[2:], given[0])

    return types.void(vector, table, types.intp, types.intp), write


@intrinsic
def _store_to_row(typing, vector, row, position):
    def write(context, builder, signature, given):
        return _write(context, builder, row, given[1], given[2:], given[0])

    return types.void(vector, row, types.intp), write


@intrinsic
def _store_to_stack(typing, vector, stack, row, column):
    def write(context, builder, signature, given):
        positions = [*given[2:], context.get_constant(types.intp, 0)]
        return _write(context, builder, stack, given[1], positions, given[0])

    return types.void(vector, stack, types.intp, types.intp), write


@overload(store)
def _(vector, array, row, column=None):
    if array.ndim == 3:
        return lambda vector, array, row, column=None: _store_to_stack(vector, array, row, column)
    if array.ndim == 1:
        return lambda vector, array, row, column=None: _store_to_row(vector, array, row)
    return lambda vector, array, row, column=None: _store_to_table(vector, array, row, column)


#: Bytes of a cache line.
_LINE = 64


@intrinsic
def _prefetch(typing, array, row):
    def write(context, builder, signature, given):
        rest = [context.get_constant(types.intp, 0)] * (array.ndim - 1)
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        found = context.make_array(array)(context, builder, given[0])
        position = cgutils.get_item_pointer(
            context, builder, array, found, [given[1], *rest], wraparound=False
        )
        start = builder.bitcast(position, byte)
        # For reading, kept in every cache, data.
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
    index = types.intp

    def write(context, builder, signature, given):
        def at(row, r):
            return builder.add(row, context.get_constant(types.intp, r))

        rows = [_read(context, builder, source, given[0], [at(given[1], r), given[2]]) for r in range(WIDTH)]
        for s in (1, 2, 4):
            # Swap the blocks of s by s numbers off the diagonal.
            for i in (i for i in range(WIDTH) if not i & s):
                a, b = rows[i], rows[i | s]
                rows[i] = _mixed(builder, a, b, [WIDTH + (k ^ s) if k & s else k for k in range(WIDTH)])
                rows[i | s] = _mixed(builder, a, b, [WIDTH + k if k & s else k | s for k in range(WIDTH)])
        for r, vector in enumerate(rows):
            _write(context, builder, target, given[3], [at(given[4], r), given[5]], vector)
        return context.get_dummy_value()

    return types.void(source, index, index, target, index, index), write


def _mixed(builder, a, b, chosen):
    """Take some lanes of `a` and `b`; those of `b` are numbered from `WIDTH` on."""
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
    return _VECTOR(types.float64), lambda context, builder, signature, given: _spread(builder, given[0])


overload(broadcast)(lambda number: lambda number: _broadcast(number))


def _joining(function, join):
    """Compile a function that joins the lanes of a vector pairwise, until one number is left."""

    @intrinsic
    def joined(typing, vector):
        def write(context, builder, signature, given):
            positions = (ir.Constant(ir.IntType(32), k) for k in range(WIDTH))
            left = [builder.extract_element(given[0], position) for position in positions]
            while len(left) > 1:
                left = [join(builder, a, b) for a, b in zip(left[::2], left[1::2], strict=True)]
            return left[0]

        return types.float64(vector), write

    overload(function)(lambda vector: lambda vector: joined(vector))


_joining(sum_of, lambda builder, a, b: builder.fadd(a, b))
_joining(largest_of, lambda builder, a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b))


def _define(function, build, result=None):
    """Compile a function of two arguments of which one or both are vectors."""

    @intrinsic
    def of_vectors(typing, a, b):
        def write(context, builder, signature, given):
            both = [
                value if isinstance(kind, _VectorType) else _spread(builder, value)
                for kind, value in zip((a, b), given, strict=True)
            ]
            return build(builder, *both)

        return (result or _VECTOR)(a, b), write

    @overload(function)
    def _(a, b):
        if isinstance(a, _VectorType) and (b is a or isinstance(b, types.Float)):
            return lambda a, b: of_vectors(a, b)
        if isinstance(b, _VectorType) and isinstance(a, types.Float):
            return lambda a, b: of_vectors(a, b)
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
