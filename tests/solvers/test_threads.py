"""One BLAS thread in every kernel, whichever thread of the interpreter runs it."""

import threading

import scipy.linalg  # noqa: F401  brings a BLAS of its own
from threadpoolctl import ThreadpoolController, threadpool_limits

from inference_core.solvers.threads import one_blas_thread


def limits():
    return {library.num_threads for library in ThreadpoolController().select(user_api="blas").lib_controllers}


def in_thread(call):
    found = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join()
    return found[0]


def inside():
    with one_blas_thread():
        return limits()


def test_the_limit_holds_in_any_thread_and_is_lifted_after():
    with threadpool_limits(2, user_api="blas"):
        assert inside() == {1}
        assert limits() == {2}
        assert in_thread(inside) == {1}
        assert limits() == {2}
        assert inside() == {1}
        assert limits() == {2}
    with threadpool_limits(3, user_api="blas"):
        assert limits() == {3}, "others can set limits afterwards"


def test_the_last_of_two_threads_to_leave_lifts_it():
    entered, leave = threading.Event(), threading.Event()

    def stay():
        with one_blas_thread():
            entered.set()
            leave.wait(10)

    with threadpool_limits(2, user_api="blas"):
        thread = threading.Thread(target=stay)
        with one_blas_thread():
            thread.start()
            assert entered.wait(10)
        assert limits() == {1}, "the other is still inside"
        leave.set()
        thread.join()
        assert limits() == {2}
