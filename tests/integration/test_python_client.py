"""A client that is not ours: Python's grpcio with stubs generated from proto/."""
import grpc
from conftest import iterations, sequences, watch
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc


def test_a_job_is_submitted_watched_to_the_end_and_numbered_without_a_hole(cluster):
    cluster.start_worker()
    job = cluster.submit(cluster.digits(iterations=300))
    frames, segments = watch(cluster, job.id)
    assert frames[-1].job.state == cluster.pb("job").Job.SUCCEEDED
    numbers = sequences(segments)
    assert numbers == list(range(1, len(numbers) + 1))
    assert iterations(cluster, segments) == [(1, number) for number in range(1, 301)]


def test_a_watch_goes_on_from_any_cursor_with_the_same_entries(cluster):
    cluster.start_worker()
    job = cluster.submit(cluster.digits(iterations=300))
    frames, segments = watch(cluster, job.id)
    cursors = [frame.next_cursor for frame in frames if frame.next_cursor]
    for cursor in cursors[:: max(1, len(cursors) // 10)]:
        _, rest = watch(cluster, job.id, cursor=cursor)
        assert sequences(rest) == sequences(segments)[len(sequences(segments)) - len(sequences(rest)):]


def test_reflection_lists_the_services_and_health_says_serving(cluster):
    stub = reflection_pb2_grpc.ServerReflectionStub(cluster.channel())
    answers = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    names = {service.name for service in next(answers).list_services_response.service}
    assert {"mantissa.v1.JobService", "mantissa.v1.WorkerService", "mantissa.v1.AdminService"} <= names
    health = health_pb2_grpc.HealthStub(cluster.channel())
    for service in ("", "mantissa.v1.JobService"):
        status = health.Check(health_pb2.HealthCheckRequest(service=service)).status
        assert status == health_pb2.HealthCheckResponse.SERVING


def test_the_same_request_id_is_one_job_and_another_spec_under_it_is_refused(cluster):
    request = cluster.pb("job_service").SubmitJobRequest(spec=cluster.digits(), request_id="once")
    first, second = cluster.jobs().SubmitJob(request), cluster.jobs().SubmitJob(request)
    assert first.id == second.id
    request.spec.training.batch_size = 32
    try:
        cluster.jobs().SubmitJob(request)
        raise AssertionError("another spec was accepted under the same request_id")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
