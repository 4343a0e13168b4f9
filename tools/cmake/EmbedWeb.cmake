# trellis_embed_web(TARGET): writes ${CMAKE_BINARY_DIR}/generated/web_assets.cc from web/ and adds it to TARGET, which
# thereby defines trellis::app::web_assets() (src/app/node/web_assets.h). A changed, new or removed file rebuilds it.
find_package(Python3 REQUIRED COMPONENTS Interpreter)

function(trellis_embed_web target)
  file(GLOB pages CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/web/*)
  set(generated ${CMAKE_BINARY_DIR}/generated/web_assets.cc)
  add_custom_command(
    OUTPUT ${generated}
    COMMAND Python3::Interpreter ${CMAKE_SOURCE_DIR}/tools/embed_web.py ${CMAKE_SOURCE_DIR}/web ${generated}
    DEPENDS ${CMAKE_SOURCE_DIR}/tools/embed_web.py ${pages}
    COMMENT "Embedding web/"
    VERBATIM)
  target_sources(${target} PRIVATE ${generated})
endfunction()
