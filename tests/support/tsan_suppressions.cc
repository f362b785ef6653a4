// What ThreadSanitizer may not say of the programs under test.

// The distribution's absl counts a Status's last references in UnrefNonInlined, in a library built without
// ThreadSanitizer: the release by one thread and the acquire by the one that deletes are not seen, and the deletion
// looks like a race with the copy that the first had made. The frame names the call in absl's header; of ours nothing
// runs below it.
extern "C" const char* __tsan_default_suppressions() { return "race:^Unref$\n"; }
