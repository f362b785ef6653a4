# cmake -DFROM=<file> -DTO=<file.cc> -DHEADER=<header> -DNAME=<name> -P EmbedBytes.cmake: a source file that defines the
# bytes of a file, as the header declares them: NAME and NAME + "Size", in namespace mantissa::cli.
file(READ "${FROM}" bytes HEX)
string(LENGTH "${bytes}" digits)
math(EXPR size "${digits} / 2")
string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
file(WRITE "${TO}" "#include \"${HEADER}\"

namespace mantissa::cli {

const unsigned char ${NAME}[] = {${bytes}};
const std::size_t ${NAME}Size = ${size};

}  // namespace mantissa::cli
")
