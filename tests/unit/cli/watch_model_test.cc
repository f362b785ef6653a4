#include "client/cli/watch/watch_model.h"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/cli/watch/event_text.h"
#include "tests/unit/cli/watch_frames.h"

namespace mantissa::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::vector<std::string> Texts(const std::vector<EventLine>& events) {
  std::vector<std::string> texts;
  for (const EventLine& event : events) texts.push_back(event.text);
  return texts;
}

WatchModel ModelOf(const v1::Job& job) {
  WatchModel model;
  model.SetJob(job);
  return model;
}

TEST(WatchModel, ShowsTheNewestRecord) {
  WatchModel model = ModelOf(ExampleJob());
  model.Apply(
      Frame({EventSegment(StartedEvent(), 1),
             RecordsSegment({{.iteration = 1, .step = 1, .loss = 2.3}, {.iteration = 2, .step = 2, .loss = 2.1}}, 2)}));
  const WatchState& state = model.state();
  EXPECT_EQ(state.name, "digits-fp16");
  EXPECT_EQ(state.iteration, 2);
  EXPECT_EQ(state.total_iterations, 690);
  EXPECT_DOUBLE_EQ(*state.loss, 2.1);
  EXPECT_EQ(state.grows_in, 1588);
  EXPECT_EQ(state.phase, v1::Phase::STEADY);
  EXPECT_THAT(state.course.Points(8), ElementsAre(2.3, 2.1));
  EXPECT_EQ(model.next_cursor(), "after-3");
}

TEST(WatchModel, AnInterventionIsToldAndChangesThePrecisionInEffect) {
  WatchModel model = ModelOf(ExampleJob());
  model.Apply(Frame({EventSegment(StartedEvent(), 1), RecordsSegment({{.iteration = 3}}, 2)}));
  EXPECT_EQ(model.state().precision, v1::PrecisionSpec::FP16);
  EXPECT_EQ(model.state().lineage, 1);
  EXPECT_TRUE(model.state().grows_in.has_value());
  model.TakeEvents();
  model.Apply(Frame({EventSegment(FallbackEvent(), 3)}));
  EXPECT_EQ(model.state().precision, v1::PrecisionSpec::BF16);
  EXPECT_EQ(model.state().submitted_precision, v1::PrecisionSpec::FP16);
  EXPECT_EQ(model.state().lineage, 2);
  EXPECT_FALSE(model.state().grows_in.has_value());
  EXPECT_THAT(Texts(model.TakeEvents()),
              ElementsAre("falls back from FP16 to BF16 at generation 0: iterations 1 to 3 were skipped"));
}

TEST(WatchModel, AJobThatIsInALaterLineageAlreadyIsShownInIt) {
  v1::Job job = ExampleJob();
  *job.mutable_lineage() = FallenBack();
  const WatchModel whole = ModelOf(job);
  EXPECT_EQ(whole.state().precision, v1::PrecisionSpec::BF16);
  EXPECT_EQ(whole.state().submitted_precision, v1::PrecisionSpec::FP16);
  WatchModel told = ModelOf(ExampleJob());
  told.Apply(JobFrame(job));
  EXPECT_EQ(told.state().precision, v1::PrecisionSpec::BF16);
  EXPECT_EQ(told.state().lineage, 2);
}

TEST(WatchModel, JudgesTheTimeLeftByTheTrainersClock) {
  WatchModel model = ModelOf(ExampleJob());
  std::vector<Record> records;
  for (int i = 1; i <= 10; ++i) records.push_back({.iteration = i, .step = i, .nanos = i * 10'000'000LL});
  model.Apply(Frame({EventSegment(StartedEvent(110), 1), RecordsSegment(records, 2)}));
  EXPECT_NEAR(*model.state().seconds_left, 1.0, 1e-9);
}

TEST(WatchModel, KnowsNoTimeLeftWhenTheClockWentBack) {
  WatchModel model = ModelOf(ExampleJob());
  model.Apply(Frame({EventSegment(StartedEvent(110), 1),
                     RecordsSegment({{.iteration = 1, .nanos = 1000}, {.iteration = 2, .nanos = 500}}, 2)}));
  EXPECT_FALSE(model.state().seconds_left.has_value());
}

TEST(WatchModel, CountsAnEntryOnceThoughAReconnectRepeatsIt) {
  WatchModel model = ModelOf(ExampleJob());
  const v1::WatchJobResponse first =
      Frame({EventSegment(StartedEvent(), 1), RecordsSegment({{.iteration = 1}, {.iteration = 2}}, 2)});
  model.Apply(first);
  EXPECT_THAT(model.TakeEvents(), SizeIs(1));
  model.Apply(first);
  model.Apply(Frame({RecordsSegment({{.iteration = 2}, {.iteration = 3}}, 3)}));
  EXPECT_THAT(model.TakeEvents(), IsEmpty());
  EXPECT_EQ(model.state().iteration, 3);
  EXPECT_THAT(model.state().course.Points(8), SizeIs(3));
}

TEST(WatchModel, SaysWhatIsNoLongerKept) {
  WatchModel model = ModelOf(ExampleJob());
  model.Apply(Frame({RecordsSegment({{.iteration = 1}}, 1)}));
  model.Apply(Frame({RecordsSegment({{.iteration = 9}}, 9)}));
  EXPECT_THAT(Texts(model.TakeEvents()), ElementsAre("entries 2 to 8 are no longer kept and can't be shown"));
}

TEST(WatchModel, CoversThatHoldNothingAreNoHole) {
  WatchModel model = ModelOf(ExampleJob());
  model.Apply(Frame({EventSegment(StartedEvent(), 1)}));
  v1::WatchJobResponse filtered;
  filtered.mutable_covers()->set_from(2);
  filtered.mutable_covers()->set_to(50);
  model.Apply(filtered);
  model.Apply(Frame({EventSegment(EvaluationEvent(40, 0.9), 51)}));
  EXPECT_THAT(model.TakeEvents(), SizeIs(2));
}

TEST(WatchModel, TellsAGapOfTheTelemetry) {
  WatchModel model = ModelOf(ExampleJob());
  v1::Segment gap;
  gap.set_attempt(2);
  gap.set_first_sequence(5);
  gap.set_count(1);
  gap.mutable_gap()->set_from(120);
  gap.mutable_gap()->set_to(180);
  gap.mutable_gap()->set_reason("the worker died");
  model.Apply(Frame({gap}));
  EXPECT_THAT(Texts(model.TakeEvents()), ElementsAre("entries 120 to 180 of attempt 2 are lost: the worker died"));
}

TEST(WatchModel, BeginsFromTheJobsProgressWhenNothingIsReplayed) {
  v1::Job job = ExampleJob();
  job.mutable_progress()->set_iteration(412);
  job.mutable_progress()->set_step(410);
  job.mutable_progress()->set_loss(0.08);
  job.mutable_progress()->set_total_iterations(690);
  const WatchModel model = ModelOf(job);
  EXPECT_EQ(model.state().iteration, 412);
  EXPECT_DOUBLE_EQ(*model.state().loss, 0.08);
}

TEST(WatchModel, ProgressOfTheJobDoesNotOverruleItsRecords) {
  WatchModel model = ModelOf(ExampleJob());
  model.Apply(Frame({RecordsSegment({{.iteration = 50, .step = 50}}, 1)}));
  v1::Job job = ExampleJob();
  job.mutable_progress()->set_iteration(10);
  model.Apply(JobFrame(job));
  EXPECT_EQ(model.state().iteration, 50);
}

TEST(WatchModel, FoldsOverflowsInARow) {
  WatchModel model = ModelOf(ExampleJob());
  std::vector<v1::Segment> segments;
  double scale = 65536;
  for (int i = 1; i <= 15; ++i, scale /= 2)
    segments.push_back(EventSegment(OverflowEventAt(i, scale, scale / 2, 60 + i), i));
  model.Apply(Frame(segments));
  const std::vector<std::string> told = Texts(model.TakeEvents());
  ASSERT_THAT(told, SizeIs(3));
  EXPECT_EQ(told[0], "iteration 1 skipped: overflow, first in head.weight (17 Inf of 1280); scale 65536 → 32768");
  EXPECT_EQ(*model.state().folded,
            "12 iterations skipped since 12:01:04 (4 to 15), last in head.weight; scale 8192 → 2");
  // Eleven good iterations end the run.
  model.Apply(Frame({RecordsSegment({{.iteration = 16}, {.iteration = 26}}, 16)}));
  EXPECT_THAT(Texts(model.TakeEvents()),
              ElementsAre("12 iterations skipped since 12:01:04 (4 to 15), last in head.weight; scale 8192 → 2"));
  EXPECT_FALSE(model.state().folded.has_value());
  model.Apply(Frame({EventSegment(OverflowEventAt(500, 4, 2), 18)}));
  EXPECT_THAT(model.TakeEvents(), SizeIs(1)) << "a run of its own is told from its beginning";
}

TEST(WatchModel, TellsWhatWasFoldedBeforeAnythingElse) {
  WatchModel model = ModelOf(ExampleJob());
  std::vector<v1::Segment> segments;
  for (int i = 1; i <= 5; ++i) segments.push_back(EventSegment(OverflowEventAt(i, 16, 8), i));
  segments.push_back(EventSegment(EvaluationEvent(5, 0.5), 6));
  model.Apply(Frame(segments));
  const std::vector<std::string> told = Texts(model.TakeEvents());
  ASSERT_THAT(told, SizeIs(5));
  EXPECT_THAT(told[3], HasSubstr("2 iterations skipped since"));
  EXPECT_THAT(told[4], HasSubstr("evaluation at step 5: loss 0.150, accuracy 0.500"));
}

TEST(WatchModel, TellsOneFoldedOverflowInFull) {
  WatchModel model = ModelOf(ExampleJob());
  std::vector<v1::Segment> segments;
  for (int i = 1; i <= 4; ++i) segments.push_back(EventSegment(OverflowEventAt(i, 16, 8), i));
  model.Apply(Frame(segments));
  model.TakeEvents();
  model.Apply(EndFrame(ExampleJob(v1::Job::FAILED)));
  EXPECT_THAT(Texts(model.TakeEvents()), ElementsAre(HasSubstr("iteration 4 skipped: overflow")));
  EXPECT_TRUE(model.state().ended);
}

TEST(WatchModel, GoesBackWithANewAttempt) {
  WatchModel model = ModelOf(ExampleJob());
  model.Apply(
      Frame({EventSegment(StartedEvent(), 1),
             RecordsSegment({{.iteration = 100, .nanos = 1'000'000}, {.iteration = 101, .nanos = 2'000'000}}, 2)}));
  ASSERT_TRUE(model.state().seconds_left.has_value());
  model.Apply(Frame({RecordsSegment({{.iteration = 51, .step = 50}}, 4, /*attempt=*/2)}));
  EXPECT_EQ(model.state().iteration, 51);
  EXPECT_FALSE(model.state().seconds_left.has_value());
}

TEST(WatchModel, LetsNoControlCharactersIn) {
  v1::Job job = ExampleJob(v1::Job::QUEUED);
  job.set_name("a\x1b[2J");
  job.set_state_message("\x1b]0;title\x07");
  WatchModel model = ModelOf(job);
  EXPECT_EQ(model.state().name.find('\x1b'), std::string::npos);
  EXPECT_EQ(model.state().message.find('\x1b'), std::string::npos);
  v1::JobEvent event;
  event.set_message("line\x1b[31m\nline");
  model.Apply(Frame({EventSegment(event, 1)}));
  EXPECT_THAT(Texts(model.TakeEvents()), ElementsAre("line\uFFFD[31m line"));
}

TEST(RecordRows, SurvivesMalformedSegments) {
  v1::Segment segment = RecordsSegment({{.iteration = 1}, {.iteration = 2}}, 1);
  segment.set_count(std::numeric_limits<int>::max());
  EXPECT_LE(DecodeRows(segment).size(), 8u);
  segment.set_count(-5);
  EXPECT_THAT(DecodeRows(segment), IsEmpty());
  segment.set_count(2);
  for (v1::Column& column : *segment.mutable_records()->mutable_columns()) column.set_present("\x02");
  const std::vector<IterationRow> rows = DecodeRows(segment);
  ASSERT_THAT(rows, SizeIs(2));
  EXPECT_FALSE(rows[0].iteration.has_value());
  EXPECT_EQ(rows[1].iteration, 1) << "the first value belongs to the first row that is present";
  v1::Segment empty;
  empty.set_count(3);
  empty.mutable_records()->add_columns();
  EXPECT_THAT(DecodeRows(empty), IsEmpty());
}

TEST(RecordRows, AbsentIsNotNan) {
  const std::vector<IterationRow> rows = DecodeRows(
      RecordsSegment({{.iteration = 1, .loss = std::nan("")}, {.iteration = 2, .grad_norm = std::nullopt}}, 1));
  ASSERT_THAT(rows, SizeIs(2));
  EXPECT_TRUE(std::isnan(*rows[0].loss));
  EXPECT_TRUE(rows[0].grad_norm.has_value());
  EXPECT_FALSE(rows[1].grad_norm.has_value());
}

TEST(WatchModel, AThinnedRowIsItsLastRecordAndCountsForAll) {
  WatchModel model = ModelOf(ExampleJob());
  v1::Segment thinned = RecordsSegment({{.iteration = 50, .step = 49, .loss = 4}, {.iteration = 100, .loss = 2}}, 1);
  thinned.set_through_sequence(128);
  for (const v1::Column::Statistic end : {v1::Column::MINIMUM, v1::Column::MAXIMUM}) {
    v1::Column& column = *thinned.mutable_records()->add_columns();
    column.set_standard(v1::Column::LOSS);
    column.set_statistic(end);
    for (int row = 0; row < 2; ++row) column.mutable_doubles()->add_values(1e9);
  }
  v1::Column& records = *thinned.mutable_records()->add_columns();
  records.set_standard(v1::Column::RECORDS);
  for (int row = 0; row < 2; ++row) records.mutable_integers()->add_values(64);
  v1::WatchJobResponse frame = Frame({thinned});
  frame.mutable_covers()->set_from(1);
  frame.mutable_covers()->set_to(128);
  model.Apply(frame);
  model.Apply(frame);  // told once more after a reconnect
  EXPECT_EQ(model.state().iteration, 100);
  EXPECT_EQ(model.state().loss, 2) << "not its ends";
  model.Apply(Frame({RecordsSegment({{.iteration = 101, .loss = 0}}, 129)}));
  const std::vector<double> course = model.state().course.Points(2);
  ASSERT_THAT(course, SizeIs(2));
  EXPECT_EQ(course[0], 4);
  EXPECT_LT(course[1], 2) << "what follows weighs one iteration, not 64";
  EXPECT_GT(course[1], 1.9);
}

TEST(LossCourse, StaysBoundedAndKeepsTheShape) {
  LossCourse course;
  for (int i = 0; i < 100'000; ++i) course.Add(100'000 - i);
  const std::vector<double> points = course.Points(8);
  ASSERT_THAT(points, SizeIs(8));
  for (std::size_t i = 1; i < points.size(); ++i) EXPECT_LT(points[i], points[i - 1]);
  EXPECT_LE(course.Points(100'000).size(), LossCourse::kMaxPoints);
}

TEST(LossCourse, LeavesOutWhatIsNotFiniteUnlessNothingElseIsThere) {
  LossCourse course;
  course.Add(1);
  course.Add(std::nan(""));
  const std::vector<double> two = course.Points(8);
  EXPECT_TRUE(std::isnan(two[1]));
  EXPECT_THAT(course.Points(1), ElementsAre(1.0));
}

TEST(EventText, TellsAnOverflow) {
  EXPECT_EQ(EventText(OverflowEventAt(3, 32768, 16384)),
            "iteration 3 skipped: overflow, first in head.weight (17 Inf of 1280); scale 32768 → 16384");
  v1::JobEvent event = OverflowEventAt(3, 32768, 32768);
  event.mutable_overflow()->mutable_parameters(0)->set_nan_count(2);
  event.mutable_overflow()->set_parameter_count(4);
  event.mutable_overflow()->set_cause(v1::SkipCause::NAN_BACKWARD);
  EXPECT_EQ(
      EventText(event),
      "iteration 3 skipped: NaN in the gradients, first in head.weight (17 Inf and 2 NaN of 1280) of 4 parameters; "
      "scale stays 32768");
  event = OverflowEventAt(350, 32768, 16384);
  v1::OverflowLocation& location = *event.mutable_overflow()->mutable_location();
  location.set_stage(v1::OverflowLocation::ACTIVATION_GRADIENT);
  location.set_module("head");
  location.set_micro_batches(1);
  location.set_inf_count(8);
  location.set_element_count(640);
  EXPECT_EQ(EventText(event),
            "iteration 350 skipped: overflow, began in the gradient of head's output (8 Inf of 640); scale 32768 → "
            "16384");
  v1::JobEvent guard = OverflowEventAt(9, 1, 1);
  guard.mutable_overflow()->clear_loss_scale();
  guard.mutable_overflow()->clear_next_loss_scale();
  guard.mutable_overflow()->clear_parameters();
  guard.mutable_overflow()->set_cause(v1::SkipCause::NAN_FORWARD);
  EXPECT_EQ(EventText(guard), "iteration 9 skipped: the loss is not finite");
}

TEST(EventText, TellsWhatTrainingTakesAndTheMicroBatchItChose) {
  v1::JobEvent started = StartedEvent();
  started.mutable_started()->set_micro_batch(16);
  started.mutable_started()->set_accumulation(4);
  started.mutable_started()->mutable_memory()->set_total(7 << 19);
  started.mutable_started()->mutable_memory()->set_free(int64_t{5} << 29);
  EXPECT_EQ(EventText(started),
            "training on cpu: FP16, 1 thread, 9,610 parameters, 690 iterations, micro-batches of 16, about 3.50 MiB of "
            "2.50 GiB free");
  v1::JobEvent event;
  v1::MicroBatchChosen& chosen = *event.mutable_micro_batch();
  chosen.set_micro_batch(1);
  chosen.set_accumulation(64);
  chosen.set_estimated_bytes(7 << 19);
  chosen.set_free_bytes(9 << 19);
  EXPECT_EQ(EventText(event), "micro-batches of 1 sample (accumulation 64): about 3.50 MiB of 4.50 MiB free");
  chosen.set_micro_batch(16);
  chosen.set_accumulation(4);
  chosen.set_measured_peak_bytes(5 << 19);
  chosen.add_refused(64);
  chosen.add_refused(32);
  EXPECT_EQ(
      EventText(event),
      "micro-batches of 16 samples (accumulation 4): about 3.50 MiB of 4.50 MiB free, 2.50 MiB measured; 64, 32 did "
      "not fit");
}

TEST(EventText, TellsTheOthers) {
  EXPECT_EQ(EventText(StartedEvent()), "training on cpu: FP16, 1 thread, 9,610 parameters, 690 iterations");
  v1::JobEvent state;
  state.mutable_state_change()->set_from(v1::Job::QUEUED);
  state.mutable_state_change()->set_to(v1::Job::STARTING);
  state.mutable_state_change()->set_reason(v1::Reason::ASSIGNED);
  EXPECT_EQ(EventText(state), "QUEUED → STARTING (ASSIGNED)");
  state.set_message("given to ws-1");
  EXPECT_EQ(EventText(state), "QUEUED → STARTING: given to ws-1");
  v1::JobEvent checkpoint;
  checkpoint.mutable_checkpoint()->set_name("attempt-0001/step-00000200");
  checkpoint.mutable_checkpoint()->set_seconds(0.031);
  checkpoint.mutable_checkpoint()->set_size_bytes(2048);
  EXPECT_EQ(EventText(checkpoint), "checkpoint attempt-0001/step-00000200 saved (2.00 KiB in 31ms)");
  v1::JobEvent scale;
  scale.set_iteration(2003);
  scale.mutable_scale_change()->set_from(16384);
  scale.mutable_scale_change()->set_to(32768);
  EXPECT_EQ(EventText(scale), "scale 16384 → 32768 after iteration 2003");
  v1::JobEvent phase;
  phase.set_message("in other words");
  phase.mutable_phase_change()->set_from(v1::Phase::CALIBRATING);
  phase.mutable_phase_change()->set_to(v1::Phase::STEADY);
  EXPECT_EQ(EventText(phase), "precision CALIBRATING → STEADY");
  v1::JobEvent unknown;
  unknown.set_reason("NEW_KIND");
  EXPECT_EQ(EventText(unknown), "NEW_KIND");
}

}  // namespace
}  // namespace mantissa::cli
