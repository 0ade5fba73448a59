# cgrpc_generate(), and the search for nanopb. Read by the project itself, by
# find_package(cgrpc) and through FetchContent.

# Sets CGRPC_NANOPB_TARGET to the library that messages need: what the project has
# chosen, has added itself, or has installed. Empty when there is none.
macro(cgrpc_find_nanopb)
  if(NOT CGRPC_NANOPB_TARGET)
    find_package(nanopb CONFIG QUIET)
    foreach(candidate nanopb::protobuf-nanopb-static nanopb::protobuf-nanopb
                      protobuf-nanopb-static protobuf-nanopb)
      if(NOT CGRPC_NANOPB_TARGET AND TARGET ${candidate})
        set(CGRPC_NANOPB_TARGET ${candidate})
      endif()
    endforeach()
  endif()
endmacro()

# cgrpc_generate(<target> <a.proto>... [IMPORT_DIRS <dir>...])
#
# Generates the messages (nanopb) and the services (cgrpc) of each .proto, and
# adds them to <target>, which may then include "a.cgrpc.h". An a.options next
# to a.proto says how large strings and arrays are (see nanopb).
#
# protoc, protoc-gen-nanopb and protoc-gen-cgrpc are searched for; the cache
# variables CGRPC_PROTOC, CGRPC_NANOPB_PLUGIN and CGRPC_PLUGIN name others.
function(cgrpc_generate target)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "IMPORT_DIRS")
  cgrpc_find_nanopb()
  if(NOT CGRPC_NANOPB_TARGET)
    message(FATAL_ERROR
      "cgrpc_generate: nanopb was not found. Install it (Debian: libnanopb-dev), "
      "add it to this project, or set CGRPC_NANOPB_TARGET to its target.")
  endif()
  find_program(CGRPC_PROTOC protoc DOC "the protocol buffer compiler")
  find_program(CGRPC_NANOPB_PLUGIN protoc-gen-nanopb DOC "nanopb's plugin")
  foreach(program CGRPC_PROTOC CGRPC_NANOPB_PLUGIN CGRPC_PLUGIN)
    if(NOT ${program})
      message(FATAL_ERROR
        "cgrpc_generate: ${program} was not found. Install it (Debian: "
        "protobuf-compiler nanopb), or set ${program} to its path.")
    endif()
  endforeach()

  set(out "${CMAKE_CURRENT_BINARY_DIR}/${target}.generated")
  file(MAKE_DIRECTORY "${out}")
  foreach(proto IN LISTS arg_UNPARSED_ARGUMENTS)
    get_filename_component(proto "${proto}" ABSOLUTE)
    get_filename_component(dir "${proto}" DIRECTORY)
    get_filename_component(stem "${proto}" NAME_WLE)
    set(imports "-I${dir}")
    foreach(import IN LISTS arg_IMPORT_DIRS)
      get_filename_component(import "${import}" ABSOLUTE)
      list(APPEND imports "-I${import}")
    endforeach()
    file(GLOB options CONFIGURE_DEPENDS "${dir}/${stem}.options")
    set(made "${out}/${stem}.pb.c" "${out}/${stem}.pb.h" "${out}/${stem}.cgrpc.h")
    add_custom_command(
      OUTPUT ${made}
      COMMAND "${CGRPC_PROTOC}"
        "--plugin=protoc-gen-nanopb=${CGRPC_NANOPB_PLUGIN}"
        "--plugin=protoc-gen-cgrpc=${CGRPC_PLUGIN}"
        ${imports} "--nanopb_opt=-I${dir}" "--cgrpc_opt=-I${dir}"
        "--nanopb_out=${out}" "--cgrpc_out=${out}" "${proto}"
      DEPENDS "${proto}" ${options} "${CGRPC_PLUGIN}"
      COMMENT "Generating ${stem}.pb.c and ${stem}.cgrpc.h"
      VERBATIM)
    target_sources(${target} PRIVATE ${made})
  endforeach()
  target_include_directories(${target} PUBLIC "$<BUILD_INTERFACE:${out}>")
  target_link_libraries(${target} PUBLIC cgrpc::cgrpc ${CGRPC_NANOPB_TARGET})
endfunction()
