// Records of a job kept in few bytes.
//
// Note [Telemetry chunks]
//
// A row of telemetry is a serialised message as commits write it, whose first byte is a tag and so never 0, or a chunk:
// 0x00, a version, and one compressed block with a checksum. Version 1 holds parts. A part of records is those of one
// attempt, however often events interrupt them: where its sequences run, and then column by column, so that like stands
// beside like. A column is numbers as they are, or what is left of them where another column foretells it: times of day
// go on by how long each iteration took, samples per second are samples by seconds. Everything else (gaps, columns of a
// type that is not known here, thinned rows) is kept as the message it was. Version 2 is the same of rows that were
// thinned, whose records are gone for good (Note [Compaction]).
//
// What comes out is what went in, bit for bit and row by row, NaN and all. Not kept is how rows were cut into segments,
// the order of columns, and whether a column that has all values said so bit by bit, or one without any was there.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "mantissa/v1/telemetry.pb.h"

namespace mantissa::server {

// What a chunk may hold; about, for writers: it is what makes reading one bounded.
inline constexpr int32_t kChunkRecords = 4'096;
// From the first sequence of a chunk to the last, those of events between them counted. A reader looks for the chunk
// that holds a sequence no further back.
inline constexpr int64_t kChunkSpan = 8'192;

enum class ChunkContent : char {
  kWhole = 1,
  kThinned = 2,
};

// What a row's first bytes tell, of which two are enough.
inline bool IsTelemetryChunk(std::string_view row) { return !row.empty() && row[0] == '\0'; }
inline bool IsThinnedChunk(std::string_view row) {
  return IsTelemetryChunk(row) && row.size() > 1 && row[1] == static_cast<char>(ChunkContent::kThinned);
}

// `segments` are one job's records and gaps, numbered and in order; together at most kChunkSpan sequences.
std::string EncodeTelemetryChunk(const std::vector<v1::Segment>& segments, ChunkContent content = ChunkContent::kWhole);

// Appends what a chunk holds, in order, in segments of at most 256 rows. DATA_LOSS for bytes that are no chunk, a
// damaged one, or of a version that is not known here; nothing is appended then.
absl::Status DecodeTelemetryChunk(std::string_view chunk, std::vector<v1::Segment>& segments);

}  // namespace mantissa::server
