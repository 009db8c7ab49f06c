"""Which of several processes this is, and what all of them have."""

from typing import Any

import paddle


def rank_and_size() -> tuple[int, int]:
    """This process's number and how many PaddlePaddle's launcher started; (0, 1) without it."""
    environment = paddle.distributed.ParallelEnv()
    return environment.rank, environment.world_size


def join_processes() -> None:
    """Lets this process wait for the others and work with them, if there are any and it does not yet."""
    if rank_and_size()[1] > 1 and not paddle.distributed.is_initialized():
        paddle.distributed.init_parallel_env()


def gather(share: Any) -> list[Any]:
    """Collects what each process has, in all of them, in the order of the processes."""
    if rank_and_size()[1] == 1:
        return [share]
    join_processes()
    shares: list[Any] = []
    paddle.distributed.all_gather_object(shares, share)
    return shares


def largest(number: int) -> int:
    """Returns the largest of the numbers that the processes call this with; it waits for all of them."""
    if rank_and_size()[1] == 1:
        return number
    join_processes()
    numbers = paddle.to_tensor([number], "int64")
    paddle.distributed.all_reduce(numbers, paddle.distributed.ReduceOp.MAX)
    return int(numbers)
