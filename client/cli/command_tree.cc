#include "client/cli/command_tree.h"

#include <optional>

#include "absl/strings/str_cat.h"

#include "client/cli/commands/describe_precision.h"
#include "client/cli/commands/doctor.h"
#include "client/cli/commands/explain.h"
#include "client/cli/commands/version.h"
#include "process/text_value.h"

namespace mantissa::cli {
namespace {

using Milliseconds = std::chrono::milliseconds;

CLI::App& Command(CommandTree& tree, const std::string& name, const std::string& help,
                  std::function<int(const Context&)> action) {
  CLI::App* command = tree.app.add_subcommand(name, help);
  command->callback([&tree, action = std::move(action)] { tree.action = action; });
  return *command;
}

CLI::Option* Duration(CLI::App& app, const std::string& name, Milliseconds& target, const std::string& help) {
  return app
      .add_option_function<std::string>(
          name,
          [name, &target](const std::string& text) {
            const absl::StatusOr<Milliseconds> parsed = process::ParseDuration(text);
            if (!parsed.ok()) throw CLI::ValidationError(name, std::string(parsed.status().message()));
            target = *parsed;
          },
          help)
      ->type_name("DURATION");
}

void Choice(CLI::App& app, const std::string& name, std::string& target, const std::vector<std::string>& choices,
            const std::string& help, bool required = false) {
  CLI::Option* option =
      app.add_option(name, target, help)->check(CLI::IsMember(choices, CLI::ignore_case).description(""));
  std::string type;
  for (const std::string& choice : choices) absl::StrAppend(&type, type.empty() ? "" : "|", choice);
  option->type_name(type)->required(required);
}

CLI::Option* SetOption(CLI::App& app, std::vector<std::string>& overrides, const std::string& example) {
  return app.add_option("--set", overrides, absl::StrCat("Replace one field: ", example, " (repeatable)"))
      ->type_name("PATH=VALUE")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

void SpecOptions(CLI::App& app, SpecSource& source) {
  app.add_option("file", source.file, "Job spec in YAML or JSON; - reads stdin")->type_name(kFileType)->required();
  SetOption(app, source.overrides, "training.batch_size=32");
  app.add_option("--name", source.name, "Name of the job")->type_name("NAME");
}

void FilterOptions(CLI::App& app, JobFilterOptions& filter) {
  app.add_option("--state", filter.states, "Only in this state (repeatable)")
      ->type_name("queued|starting|running|pausing|paused|cancelling|succeeded|failed|cancelled")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_option("--label", filter.labels, "Only with this label (repeatable)")
      ->type_name("KEY=VALUE")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_option("--name", filter.name, "Only of this name")->type_name("NAME");
}

void DeclareGlobal(CommandTree& tree) {
  CLI::App& app = tree.app;
  app.add_option("--address", tree.global.address, "Server, host:port [MANTISSA_ADDRESS; 127.0.0.1:50051]")
      ->type_name("ADDRESS");
  const auto setting = [&](const std::string& name, const char* type, const std::string& help) {
    app.add_option_function<std::string>(
           "--" + name, [&tree, name](const std::string& text) { tree.global.settings[name] = text; },
           absl::StrCat(help, " [",
                        name == process::kConfigFlag ? kConfigVariable : process::Settings::EnvironmentName(name), "]"))
        ->type_name(type);
  };
  setting("tls-ca", kFileType, "CA of the server's certificate, PEM; without it plain text is spoken");
  setting("tls-certificate", kFileType, "Your certificate, PEM, where the server asks for one");
  setting("tls-key", kFileType, "Its private key, PEM");
  setting("tls-server-name", "NAME", "Name in the server's certificate, where it is not the address");
  setting("token-file", kFileType, "File of your token; it goes to a server over TLS only");
  setting("tenant", "TENANT", "Whose jobs this is about; admins may name any");
  setting(process::kConfigFlag, kFileType, "YAML file of address and the settings above");
  Choice(app, "-o,--output", tree.global.output, {"table", "json", "yaml", "name", "csv"},
         "How data are printed; csv is for history and report [table]");
  Choice(app, "--color", tree.global.color, {"auto", "always", "never"}, "Colours [auto]");
  Duration(app, "--rpc-timeout", tree.global.rpc_timeout, "Longest wait for one answer [10s]");
}

void DeclareJobCommands(CommandTree& tree) {
  CLI::App& submit =
      Command(tree, "submit", "Submit a job", [&tree](const Context& context) { return Submit(context, tree.submit); });
  SpecOptions(submit, tree.submit.source);
  submit.add_flag("--watch,-w", tree.submit.watch, "Watch it until it ends");
  submit.add_option("--request-id", tree.submit.request_id, "Repeating a submit with the same id makes no second job")
      ->type_name("ID");
  Duration(submit, "--retry-for", tree.submit.retry_for, "How long a server that does not answer is tried [10s]");

  CLI::App& validate = Command(tree, "validate", "Check a job spec, here and by the server when it can be reached",
                               [&tree](const Context& context) { return Validate(context, tree.validate); });
  SpecOptions(validate, tree.validate.source);
  CLI::Option* local = validate.add_flag("--local", tree.local, "Check here only");
  validate.add_flag("--server", tree.server, "Fail when the server can't be asked")->excludes(local);

  SpecOptions(Command(tree, "describe-precision", "Show what of a job spec runs and is kept in which number format",
                      [&tree](const Context& context) { return DescribePrecision(context, tree.precision); }),
              tree.precision);

  CLI::App& list = Command(tree, "list", "List jobs, newest first",
                           [&tree](const Context& context) { return List(context, tree.list); });
  FilterOptions(list, tree.list.filter);
  list.add_option("--limit", tree.list.limit, "At most this many [50]")
      ->check(CLI::Range(1, 1'000'000))
      ->type_name("N");

  Command(tree, "get", "Show a job", [&tree](const Context& context) { return Get(context, tree.job); })
      .add_option("job", tree.job, "Id, its beginning, or name (the newest of it)")
      ->type_name(kJobType)
      ->required();
}

void DeclareChangeCommands(CommandTree& tree) {
  CLI::App& cancel = Command(tree, "cancel", "Cancel jobs: those named, or all that match a filter",
                             [&tree](const Context& context) { return Cancel(context, tree.cancel); });
  cancel.add_option("job", tree.cancel.jobs, "Ids, their beginnings, or names")->type_name(kJobType);
  FilterOptions(cancel, tree.cancel.filter);
  cancel.add_flag("--dry-run", tree.cancel.dry_run, "Only say which jobs the filter names");

  const auto of_jobs = [&tree](const std::string& name, const std::string& help, auto run) {
    Command(tree, name, help, [&tree, run](const Context& context) { return run(context, tree.jobs); })
        .add_option("job", tree.jobs, "Ids, their beginnings, or names")
        ->type_name(kJobType)
        ->required();
  };
  of_jobs("pause", "Save jobs and take them off their devices until they are resumed", &Pause);
  of_jobs("resume", "Let paused jobs go on where they were", &Resume);
  of_jobs("requeue", "Save jobs and put them back into the queue; end the wait for a retry", &Requeue);
  of_jobs("delete", "Delete jobs that have ended, with their history, files and checkpoints", &Delete);

  CLI::App& update = Command(tree, "update", "Change priority, labels, retry or timeouts of a job",
                             [&tree](const Context& context) { return Update(context, tree.update); });
  update.add_option("job", tree.update.job, "Id, its beginning, or name")->type_name(kJobType)->required();
  SetOption(update, tree.update.overrides, "priority=5, labels.team=nlp, timeouts.total=2h")->required();

  CLI::App& clone = Command(tree, "clone", "Submit the spec of a job once more",
                            [&tree](const Context& context) { return Clone(context, tree.clone); });
  clone.add_option("job", tree.clone.job, "Id, its beginning, or name")->type_name(kJobType)->required();
  SetOption(clone, tree.clone.overrides, "training.batch_size=32");
  clone.add_option("--name", tree.clone.submit.source.name, "Name of the new job")->type_name("NAME");
  clone.add_flag("--from-checkpoint", tree.clone.from_checkpoint, "Begin from its newest finite checkpoint");
  clone.add_flag("--watch,-w", tree.clone.submit.watch, "Watch the new job until it ends");
}

void DeclareFollowCommands(CommandTree& tree) {
  CLI::App& watch = Command(tree, "watch", "Follow a job until it ends; Ctrl-C leaves it running",
                            [&tree](const Context& context) { return Watch(context, tree.watch); });
  watch.add_option("job", tree.watch.job, "Id, its beginning, or name")->type_name(kJobType)->required();
  CLI::Option* now = watch.add_flag("--from-now", tree.watch.from_now, "Leave out what was before");
  watch.add_option("--cursor", tree.watch.cursor, "Go on from a next_cursor of -o json")
      ->type_name("CURSOR")
      ->excludes(now);
  watch
      .add_option("--max-points", tree.watch.max_points,
                  "Rows of records to thin what was before to; 0 is every record [2000; with -o json 0]")
      ->check(CLI::Range(0, 65'536))
      ->type_name("N");
  Duration(watch, "--retry-for", tree.watch.retry_for, "How long a server that went away is waited for [10m]");

  CLI::App& wait = Command(tree, "wait", "Wait until a job ends",
                           [&tree](const Context& context) { return Wait(context, tree.wait); });
  wait.add_option("job", tree.wait.job, "Id, its beginning, or name")->type_name(kJobType)->required();
  tree.wait.timeout.reset();
  wait.add_option_function<std::string>(
          "--timeout",
          [&tree](const std::string& text) {
            const absl::StatusOr<Milliseconds> parsed = process::ParseDuration(text);
            if (!parsed.ok()) throw CLI::ValidationError("--timeout", std::string(parsed.status().message()));
            tree.wait.timeout = *parsed;
          },
          "Give up waiting after this long (exit 7)")
      ->type_name("DURATION");
  Duration(wait, "--retry-for", tree.wait.retry_for, "How long a server that went away is waited for [10m]");

  CLI::App& logs = Command(tree, "logs", "Print what the trainer wrote",
                           [&tree](const Context& context) { return Logs(context, tree.logs); });
  logs.add_option("job", tree.logs.job, "Id, its beginning, or name")->type_name(kJobType)->required();
  logs.add_flag("-f,--follow", tree.logs.follow, "Go on until the attempt ends");
  logs.add_option("--attempt", tree.logs.attempt, "Of this attempt [the newest]")
      ->check(CLI::Range(1, 1'000'000))
      ->type_name("N");
  logs.add_option("--offset", tree.logs.offset, "From this byte on")->check(CLI::NonNegativeNumber)->type_name("BYTES");
  Choice(logs, "--stream", tree.logs.stream, {"stderr", "stdout"}, "Which of the trainer's streams [stderr]");
}

void DeclareHistoryCommands(CommandTree& tree) {
  const auto of_job = [&tree](const std::string& name, const std::string& help, auto run) {
    Command(tree, name, help, [&tree, run](const Context& context) { return run(context, tree.job); })
        .add_option("job", tree.job, "Id, its beginning, or name")
        ->type_name(kJobType)
        ->required();
  };
  of_job("attempts", "List the attempts at a job", &Attempts);
  of_job("checkpoints", "List the checkpoints of a job", &Checkpoints);

  CLI::App& events = Command(tree, "events", "List what happened to a job",
                             [&tree](const Context& context) { return Events(context, tree.events); });
  events.add_option("job", tree.events.job, "Id, its beginning, or name")->type_name(kJobType)->required();
  Choice(events, "--min-severity", tree.events.min_severity, {"info", "warning", "error"},
         "Leave out what is less [info]");

  CLI::App& history = Command(tree, "history", "Print a job's records, as CSV or with -o json",
                              [&tree](const Context& context) { return History(context, tree.history); });
  history.add_option("job", tree.history.job, "Id, its beginning, or name")->type_name(kJobType)->required();
  history.add_option("--columns", tree.history.columns, "Only these: loss,loss_scale,grad_norm [all]")
      ->delimiter(',')
      ->type_name("NAMES");
  history.add_option("--from", tree.history.from, "From this sequence on [the first]")
      ->check(CLI::PositiveNumber)
      ->type_name("N");
  history.add_option("--to", tree.history.to, "Up to this sequence [the newest]")
      ->check(CLI::PositiveNumber)
      ->type_name("N");

  history
      .add_option("--max-points", tree.history.max_points,
                  "Rows to thin the records to, each the last of several, with their least and greatest [all]")
      ->check(CLI::Range(1, 65'536))
      ->type_name("N");

  CLI::App& plot = Command(tree, "plot", "Draw a job's loss, loss scale and grad norm, here or with --png as a picture",
                           [&tree](const Context& context) { return Plot(context, tree.plot); });
  plot.add_option("job", tree.plot.job, "Id, its beginning, or name")->type_name(kJobType)->required();
  plot.add_option("--png", tree.plot.png, "Write a PNG to this file; - is stdout")->type_name(kFileType);
  plot.add_flag("--force", tree.plot.force, "Replace a file that is there");
  plot.add_option("--width", tree.plot.width, "Columns [the terminal's]; with --png, pixels [1280]")->type_name("N");
  plot.add_option("--height", tree.plot.height, "Lines [the terminal's]; with --png, pixels [960]")->type_name("N");
  Choice(plot, "--loss-axis", tree.plot.loss_axis, {"auto", "linear", "log"},
         "How losses are spread; auto: log where they are far apart [auto]");

  CLI::App& report = Command(tree, "report", "Show what a study has found",
                             [&tree](const Context& context) { return ShowReport(context, tree.report); });
  report.add_option("job", tree.report.job, "Id, its beginning, or name")->type_name(kJobType)->required();
  report
      .add_option("--section", tree.report.section, "One of its tables, whole; -o name lists them [all, long ones cut]")
      ->type_name("NAME");
  report.add_option("--png", tree.report.png, "Draw its curves into this file; - is stdout")->type_name(kFileType);
  report.add_flag("--force", tree.report.force, "Replace a file that is there");

  CLI::App& download =
      Command(tree, "download", "Fetch a file of a job, its model by default; goes on where it stopped",
              [&tree](const Context& context) { return Download(context, tree.download); });
  download.add_option("job", tree.download.job, "Id, its beginning, or name")->type_name(kJobType)->required();
  download.add_option("name", tree.download.name, "Which file [model.safetensors]")->type_name("NAME");
  download.add_option("-O,--output-file", tree.download.file, "Where to write it; - is stdout [its name, here]")
      ->type_name(kFileType);
  download.add_flag("--force", tree.download.force, "Replace a file that is there");
  Duration(download, "--wait", tree.download.wait,
           "How long a file is waited for that the worker has not handed in yet [10s]");

  CLI::App& bundle = Command(tree, "bundle", "Fetch the skipped iteration that an attempt kept, to replay it",
                             [&tree](const Context& context) { return Bundle(context, tree.bundle); });
  bundle.add_option("job", tree.bundle.job, "Id, its beginning, or name")->type_name(kJobType)->required();
  bundle.add_option("--attempt", tree.bundle.attempt, "Of which attempt [the newest that kept one]")
      ->check(CLI::PositiveNumber);
  bundle.add_option("-O,--output-folder", tree.bundle.folder, "Where to write it [NAME-bundle, here]")
      ->type_name(kFileType);
  bundle.add_flag("--force", tree.bundle.force, "Write into a folder that is there");
  Duration(bundle, "--wait", tree.bundle.wait, "How long is waited for what the worker has not handed in yet [10s]");
}

void DeclareAdvise(CommandTree& tree) {
  CLI::App& advise = Command(tree, "advise", "Study a training on a device, and say what of its spec had better change",
                             [&tree](const Context& context) { return Advise(context, tree.advise); });
  SpecOptions(advise, tree.advise.source);
  advise.add_option("--iterations", tree.advise.iterations, "Of each run of a study, at most [100]")
      ->check(CLI::Range(8, 1'000'000))
      ->type_name("N");
  advise.add_option("--seeds", tree.advise.seeds, "Runs of each precision; two or more tell it from noise [3]")
      ->check(CLI::Range(1, 100))
      ->type_name("N");
  Duration(advise, "--retry-for", tree.advise.retry_for, "How long a server that went away is waited for [10m]");
  advise.footer("What its rules are and how they are answered: mantissa explain advise");
}

void DeclareOtherCommands(CommandTree& tree) {
  Command(tree, "top", "Show all jobs, devices and the queue, kept up to date; Ctrl-C or q leaves",
          [&tree](const Context& context) { return Top(context, tree.top); })
      .add_flag("--once", tree.top.once, "One picture, as where stdout is no terminal");
  Command(tree, "workers", "List the workers and their devices", &Workers);
  CLI::App& drain = Command(tree, "drain", "Empty a worker: what it runs is saved and goes on elsewhere",
                            [&tree](const Context& context) { return Drain(context, tree.drain); });
  drain.add_option("worker", tree.drain.worker, "Id of the worker")->type_name("WORKER")->required();
  drain.add_flag("--undo", tree.drain.undo, "Let it take work again");
  Command(tree, "roots", "List the folders that specs may name", &Roots);
  Command(tree, "doctor", "Check this machine and the server, and say what to fix", &Doctor);
  Command(tree, "health", "Ask whether the server takes jobs; exit 0 when it does, 6 when not",
          [&tree](const Context& context) { return Health(context, tree.health); })
      .add_flag("--live", tree.health.live, "Whether it answers at all, as one that stands by does");
  CLI::App& completion = Command(tree, "completion", "Print a completion script", nullptr);
  Choice(completion, "shell", tree.shell, {"bash", "zsh", "fish"}, "For this shell", true);
  CLI::App& token = Command(tree, "token", "Make a token for a server's --tokens file", nullptr);
  token.callback([&tree] {
    tree.calls = false;
    tree.action = [&tree](const Context& context) { return Token(context.console, context.format, tree.token); };
  });
  token.add_option("tenant", tree.token.tenant, "Whose it is")->type_name("TENANT")->required();
  Choice(token, "role", tree.token.role, {"reader", "user", "admin"}, "What it lets do", true);
  token.add_option("--name", tree.token.name, "What it is called in the file, for people")->type_name("NAME");
  token.add_option("--append-to", tree.token.append_to, "Add its line to this file, and print the token alone")
      ->type_name(kFileType);
  CLI::App& explain = Command(tree, "explain", "Say what studies do, and what the fields of a spec mean", nullptr);
  explain.callback([&tree] {
    tree.calls = false;
    tree.action = [&tree](const Context& context) {
      return ShowExplanation(context.console, context.format, tree.explained);
    };
  });
  explain
      .add_option("name", tree.explained,
                  "A study, a field of a job spec: training.precision.loss_scale, or advise [the list of studies]")
      ->type_name(kExplainedType);
  Command(tree, "version", "Print the version",
          [](const Context& context) { return Version(context.console, context.format); });
}

}  // namespace

CommandTree::CommandTree() {
  app.require_subcommand(1);
  app.fallthrough();
  DeclareGlobal(*this);
  DeclareJobCommands(*this);
  DeclareChangeCommands(*this);
  DeclareFollowCommands(*this);
  DeclareHistoryCommands(*this);
  DeclareAdvise(*this);
  DeclareOtherCommands(*this);
  app.footer(
      "Exit codes: 0 ok, 1 error, 2 usage or bad spec, 3 job failed or cancelled, 4 not authorised,\n"
      "5 not found, 6 unavailable, 7 timed out, 130 interrupted.");
}

}  // namespace mantissa::cli
