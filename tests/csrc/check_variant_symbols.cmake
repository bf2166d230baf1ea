# Fails when code compiled for one instruction set can be merged with another's: a variant's object file may export
# functions of its own namespace only. An inline function or template of a shared header would show up here.
#   cmake -DNM=... -DVARIANT=avx2 -DOBJECTS=a.o|b.o -P check_variant_symbols.cmake
string(REPLACE "|" ";" OBJECTS "${OBJECTS}")
foreach(object ${OBJECTS})
  execute_process(COMMAND ${NM} -C --defined-only --extern-only ${object} OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
  string(REPLACE "\n" ";" symbols "${symbols}")
  foreach(symbol ${symbols})
    if(symbol MATCHES " [TWui] " AND NOT symbol MATCHES "rfkernels::${VARIANT}::")
      message(SEND_ERROR "${object} exports code that other variants could be given: ${symbol}")
    endif()
  endforeach()
endforeach()
